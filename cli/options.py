"""The options that several commands share, and the checks of what is typed into them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.index.items import KINDS, Kind

if TYPE_CHECKING:
    from mmsearch import Library

DATE_FORMATS = ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%M")


def iso_date(value: str | None) -> str | None:
    """value unchanged, if it is a year, a month, a day or a minute in ISO 8601; otherwise a usage error."""
    if value is None or any(_has_format(value, known) for known in DATE_FORMATS):
        return value
    raise typer.BadParameter(f"{value!r} is not a date; write 2024, 2024-05, 2024-05-01 or 2024-05-01T12:00.")


def _has_format(value: str, known: str) -> bool:
    try:
        # strptime takes 2024-5 as well, which would not sort as text.
        return datetime.strptime(value, known).strftime(known) == value
    except ValueError:
        return False


def device_name(value: str) -> str:
    """value unchanged, if it names a device; otherwise a usage error."""
    if re.fullmatch(r"auto|cpu|cuda|cuda:\d+(,cuda:\d+)*", value):
        return value
    raise typer.BadParameter(f"{value!r} is not a device; write auto, cpu, cuda, cuda:N or cuda:N,cuda:M.")


def known_kinds(values: Sequence[str] | None) -> tuple[Kind, ...]:
    """The kinds that values name; a usage error for a word that names none."""
    for value in values or ():
        if value not in KINDS:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(KINDS)}.", param_hint="--kind")
    return tuple(kind for kind in KINDS if kind in (values or ()))


def existing_library(path: Path | None) -> Library:
    """The library at path, which must be there already. Its model runs where MMSEARCH_DEVICE says."""
    from mmsearch import Library

    device = device_name(os.environ.get("MMSEARCH_DEVICE") or "auto")
    return Library.open(path, device=device, create=False)


LibraryFolder = Annotated[
    Path | None,
    typer.Option(
        "--library",
        metavar="DIR",
        help="The library. Without it: MMSEARCH_LIBRARY, or the one in your data directory.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, one object a line.")]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda[:N]",
        envvar="MMSEARCH_DEVICE",
        callback=device_name,
        help="Where the model runs.",
    ),
]

Seed = Annotated[int, typer.Option(metavar="N", min=0, help="What chance begins with.")]
PhotosBeside = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Where to look for the photos, besides the folder of FILE.csv.",
        show_default=False,
    ),
]

Count = Annotated[int, typer.Option("-k", metavar="N", min=1, help="How many answers.")]
Offset = Annotated[int, typer.Option(metavar="N", min=0, help="Leave out the first N answers.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="image|text|audio",
        help="Only photos, documents or sounds; may be repeated.",
        show_default=False,
    ),
]
PathGlob = Annotated[
    str | None,
    typer.Option("--path", metavar="GLOB", help="Only paths that match, such as '*/beach/*'.", show_default=False),
]
After = Annotated[
    str | None,
    typer.Option(
        metavar="DATE",
        callback=iso_date,
        help="Only what was taken at DATE or later: 2024, 2024-05, 2024-05-01, 2024-05-01T12:00.",
        show_default=False,
    ),
]
Before = Annotated[
    str | None,
    typer.Option(metavar="DATE", callback=iso_date, help="Only what was taken before DATE.", show_default=False),
]
MinScore = Annotated[
    float | None,
    typer.Option(metavar="X", help="Only answers with at least this score.", show_default=False),
]
MinProb = Annotated[
    float | None,
    typer.Option(
        metavar="P", min=0.0, max=1.0, help="Only answers with at least this probability.", show_default=False
    ),
]
NoRerank = Annotated[bool, typer.Option("--no-rerank", help="Order by the plain cosine of the best view.")]
Explain = Annotated[bool, typer.Option("--explain", help="Say why each answer stands where it does.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="CSV with a header line.")]
PathsOnly = Annotated[bool, typer.Option("-f", "--filepath-only", help="Paths only, one a line.")]
PathsNul = Annotated[bool, typer.Option("-0", help="Paths only, each ended by NUL, for `xargs -0`.")]
