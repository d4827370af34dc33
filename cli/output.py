"""What goes to stdout: a table for a terminal, tab-separated lines for a pipe, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

Record = Mapping[str, object]

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it

# What could move the cursor, end the line, or turn the reading direction around.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def prepare_streams() -> None:
    """Let every path be written: UTF-8 into a pipe, escapes where a terminal has no such letter."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def printable(text: str) -> str:
    r"""Text without anything that a terminal would obey.

    >>> printable("a\x1b[2Jb\tc")
    'a\\x1b[2Jb\\tc'
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def shown_path(path: str | Path) -> str:
    """A path for people: relative to the current directory when below it, and printable."""
    path = os.fspath(path)
    here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 - a string prefix, ending in one slash
    return printable(path.removeprefix(here))


def emit(lines: Iterable[str], end: str = "\n") -> None:
    """Write lines to stdout. A reader that has seen enough, such as `head`, ends the command quietly."""
    try:
        for line in lines:
            sys.stdout.write(line + end)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def note(message: str) -> None:
    """Say something about the run on stderr."""
    print(printable(message), file=sys.stderr)


def show(records: Sequence[Record], *, as_json: bool = False) -> None:
    """Print records of the same fields: JSON lines when asked for, a table on a terminal, TSV in a pipe."""
    if as_json:
        emit(map(json_line, records))
    elif not sys.stdout.isatty():
        emit(tsv_line(record.values()) for record in records)
    elif records:
        print_table(record_table(records))


def json_line(record: Record) -> str:
    """One JSON object. A number that is not finite becomes null, which JSON has a word for."""
    return json.dumps(_plain(record), ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tsv_line(values: Iterable[object]) -> str:
    """Values with a tab between them; tabs and line ends inside a value are escaped.

    >>> tsv_line([0.31, "a.jpg", None])
    '0.31\\ta.jpg\\t'
    """
    return "\t".join(cell(value) for value in values)


def csv_lines(records: Sequence[Record], header: Sequence[str]) -> list[str]:
    """A header and one line for each record; a field that a record lacks stays empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    # Not splitlines: a quoted snippet may hold line ends of its own.
    return [buffer.getvalue().removesuffix("\n")]


def cell(value: object) -> str:
    """A value as one cell of a table or a TSV line."""
    return "" if value is None else printable(str(value))


def record_table(records: Sequence[Record]) -> Table:
    """A table with a column for each field of the records."""
    from rich.text import Text

    table = plain_table()
    for name in records[0]:
        table.add_column(name, overflow="fold")
    for record in records:
        # Text, never str: names are not markup.
        table.add_row(*(Text(shown_path(it) if isinstance(it, Path) else cell(it)) for it in record.values()))
    return table


def plain_table() -> Table:
    """An empty table without lines, its header dim."""
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")


def print_table(table: Table) -> None:
    """Print a table on the terminal."""
    from rich.console import Console

    Console(highlight=False).print(table)
