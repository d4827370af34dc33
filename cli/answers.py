"""How the hits of a query are shown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

import typer

from mmsearch.cli.output import (
    Record,
    csv_lines,
    emit,
    json_line,
    note,
    plain_table,
    print_table,
    printable,
    shown_path,
    tsv_line,
)

if TYPE_CHECKING:
    from rich.table import Table

    from mmsearch.retrieval.types import Hit

FIELDS = ("rank", "score", "path", "kind", "view", "start_s", "end_s", "snippet", "signals")


class Form(Enum):
    """How hits are written."""

    TABLE = auto()
    TSV = auto()
    JSON = auto()
    CSV = auto()
    PATHS = auto()
    PATHS_NUL = auto()


def chosen_form(*, as_json: bool, as_csv: bool, paths: bool, paths_nul: bool) -> Form:
    """The form that the options name; without any, a table on a terminal and TSV in a pipe."""
    if as_json + as_csv + (paths or paths_nul) > 1:
        raise typer.BadParameter("choose one.", param_hint=["--json", "--csv", "-f, -0"])
    if as_json:
        return Form.JSON
    if as_csv:
        return Form.CSV
    if paths or paths_nul:
        return Form.PATHS_NUL if paths_nul else Form.PATHS
    return Form.TABLE if sys.stdout.isatty() else Form.TSV


def show_hits(hits: Sequence[Hit], form: Form, *, explain: bool = False) -> None:
    """Print hits, best first; of none, say so on stderr alone."""
    if not hits:
        note("nothing found.")
        return
    match form:
        case Form.TABLE:
            print_table(hits_table(hits, explain=explain))
        case Form.TSV:
            emit(hit_line(hit, explain=explain) for hit in hits)
        case Form.JSON:
            emit(json_line(hit_record(hit)) for hit in hits)
        case Form.CSV:
            emit(hits_csv(hits, explain=explain))
        case Form.PATHS:
            emit(hit.path for hit in hits)
        case Form.PATHS_NUL:
            emit((hit.path for hit in hits), end="\0")


def hit_record(hit: Hit) -> Record:
    """The fields of a hit under their published names, in their published order."""
    return {name: getattr(hit, name) for name in FIELDS}


def hit_line(hit: Hit, *, explain: bool) -> str:
    """`score<TAB>path`, and a further cell for each signal when asked to explain."""
    signals = _signal_cells(hit) if explain else []
    return tsv_line([f"{hit.score:.3f}", hit.path, *signals])


def hits_csv(hits: Sequence[Hit], *, explain: bool) -> list[str]:
    """CSV with the columns of the JSON form; the signals, when asked for, one column each."""
    names = sorted({name for hit in hits for name in hit.signals}) if explain else []
    header = [*FIELDS[:-1], *(f"signal.{name}" for name in names)]
    return csv_lines([_csv_record(hit, header) for hit in hits], header)


def _csv_record(hit: Hit, header: Sequence[str]) -> Record:
    signals = {f"signal.{name}": value for name, value in hit.signals.items()}
    return {name: value for name, value in {**hit_record(hit), **signals}.items() if name in header}


def hits_table(hits: Sequence[Hit], *, explain: bool) -> Table:
    """Score and path; below the path what matched and, when asked to explain, the signals."""
    from rich.console import Group
    from rich.text import Text

    table = plain_table()
    table.add_column("score", justify="right")
    table.add_column("path")
    for hit in hits:
        # Text, never str: names are not markup. A path is shown whole, for it is what people copy.
        lines = [Text(shown_path(hit.path), overflow="fold")]
        if words := matched(hit):
            lines.append(Text(words, style="dim", overflow="ellipsis", no_wrap=True))
        if explain:
            lines.append(Text("  ".join(_signal_cells(hit)), style="dim"))
        table.add_row(f"{hit.score:.3f}", Group(*lines))
    return table


def _signal_cells(hit: Hit) -> list[str]:
    return [f"{name}={value:.3f}" for name, value in hit.signals.items()]


def matched(hit: Hit) -> str:
    """What of the item matched, in one printable line: the stretch of a clip, and the caption or passage."""
    words = printable(" ".join(hit.snippet.split()))
    return f"{stretch(hit.start_s, hit.end_s)} {words}".strip()


def stretch(start_s: float | None, end_s: float | None) -> str:
    """A stretch of a clip in minutes and seconds, empty for the whole.

    >>> stretch(12.4, 75.0)
    '0:12-1:15'
    """
    return "-".join(f"{int(at) // 60}:{int(at) % 60:02d}" for at in (start_s, end_s) if at is not None)
