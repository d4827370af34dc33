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

    from mmsearch.retrieval.types import Hit, Hits

FIELDS = ("rank", "score", "probability", "path", "kind", "view", "start_s", "end_s", "snippet", "signals")
EXPLAINED = ("contributions", "method", "reasons")


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


def show_hits(hits: Hits, form: Form, *, explain: bool = False) -> None:
    """Print hits, best first; stderr alone says that there are none, or none that is any good."""
    if not hits:
        note("nothing found.")
        return
    if hits.no_good_match:
        note("no good match; the nearest are shown.")
    match form:
        case Form.TABLE:
            print_table(hits_table(hits, explain=explain))
        case Form.TSV:
            emit(hit_line(hit, explain=explain) for hit in hits)
        case Form.JSON:
            emit(json_line(hit_record(hit, hits.fits, explain=explain)) for hit in hits)
        case Form.CSV:
            emit(hits_csv(hits, explain=explain))
        case Form.PATHS:
            emit(hit.path for hit in hits)
        case Form.PATHS_NUL:
            emit((hit.path for hit in hits), end="\0")


def hit_record(hit: Hit, fits: float | None, *, explain: bool) -> Record:
    """The fields of a hit under their published names, in their published order, with what its list says of itself."""
    explained = {name: getattr(hit, name) for name in EXPLAINED} if explain else {}
    return {name: getattr(hit, name) for name in FIELDS} | {"fits": fits} | explained


def hit_line(hit: Hit, *, explain: bool) -> str:
    """`probability<TAB>path`, or `score<TAB>path`, and a further cell for each reason when asked to explain."""
    return tsv_line([worth(hit), hit.path, *(hit.reasons if explain else ())])


def hits_csv(hits: Hits, *, explain: bool) -> list[str]:
    """CSV with the columns of the JSON form; signals and contributions, when asked for, one column each."""
    records = [_csv_record(hit, hits.fits, explain) for hit in hits]
    names = sorted({name for record in records for name in record if "." in name})
    header = [*FIELDS[:-1], "fits", *names]
    return csv_lines([{name: record[name] for name in header if name in record} for record in records], header)


def _csv_record(hit: Hit, fits: float | None, explain: bool) -> Record:
    numbers = {"signal": hit.signals, "contribution": hit.contributions} if explain else {}
    named = {f"{kind}.{name}": value for kind, values in numbers.items() for name, value in values.items()}
    return {**hit_record(hit, fits, explain=False), **named}


def hits_table(hits: Sequence[Hit], *, explain: bool) -> Table:
    """Probability (or score) and path; below the path what matched and, when asked to explain, the reasons."""
    from rich.console import Group
    from rich.text import Text

    table = plain_table()
    table.add_column("score" if any(hit.probability is None for hit in hits) else "prob.", justify="right")
    table.add_column("path")
    for hit in hits:
        # Text, never str: names are not markup. A path is shown whole, for it is what people copy.
        lines = [Text(shown_path(hit.path), overflow="fold")]
        if words := matched(hit):
            lines.append(Text(words, style="dim", overflow="ellipsis", no_wrap=True))
        if explain:
            lines += [Text(printable(reason), style="dim") for reason in hit.reasons]
        table.add_row(worth(hit), Group(*lines))
    return table


def worth(hit: Hit) -> str:
    """The probability of a hit, or its score where there is none, with three decimals."""
    return f"{hit.score if hit.probability is None else hit.probability:.3f}"


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
