"""`mmsearch query` and `mmsearch similar`: answers out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.answers import chosen_form, show_hits
from mmsearch.cli.options import (
    After,
    AsCsv,
    AsJson,
    Before,
    Count,
    Explain,
    Kinds,
    LibraryFolder,
    MinProb,
    MinScore,
    NoRerank,
    Offset,
    PathGlob,
    PathsNul,
    PathsOnly,
    existing_library,
    known_kinds,
)


def query(
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            help="What to look for: words, a picture (./x.jpg), or a sum such as 'dog + 2:beach - people'.",
        ),
    ],
    k: Count = 10,
    library: LibraryFolder = None,
    kind: Kinds = None,
    path: PathGlob = None,
    after: After = None,
    before: Before = None,
    min_prob: MinProb = None,
    min_score: MinScore = None,
    no_rerank: NoRerank = False,
    explain: Explain = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    filepath_only: PathsOnly = False,
    nul: PathsNul = False,
    offset: Offset = 0,
    allow_url: Annotated[
        bool, typer.Option("--allow-url", help="Let QUERY be the http or https address of a picture.")
    ] = False,
) -> None:
    """Show what fits a query, best first.

    A terminal gets a table, a pipe gets probability<TAB>path.
    A query that begins with a minus sign goes after `--`.
    """
    form = chosen_form(as_json=as_json, as_csv=as_csv, paths=filepath_only, paths_nul=nul)
    with existing_library(library) as opened:
        hits = opened.query(
            query,
            k,
            kinds=known_kinds(kind),
            path_glob=path,
            after=after,
            before=before,
            min_prob=min_prob,
            min_score=min_score,
            rerank=not no_rerank,
            explain=explain,
            offset=offset,
            allow_url=allow_url,
        )
    show_hits(hits, form, explain=explain)


def similar(
    file: Annotated[Path, typer.Argument(metavar="PATH", help="A file of the library, or any picture.")],
    k: Count = 10,
    library: LibraryFolder = None,
    kind: Kinds = None,
    path: PathGlob = None,
    after: After = None,
    before: Before = None,
    min_prob: MinProb = None,
    min_score: MinScore = None,
    no_rerank: NoRerank = False,
    explain: Explain = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    filepath_only: PathsOnly = False,
    nul: PathsNul = False,
    offset: Offset = 0,
) -> None:
    """Show what resembles a file, best first."""
    form = chosen_form(as_json=as_json, as_csv=as_csv, paths=filepath_only, paths_nul=nul)
    with existing_library(library) as opened:
        hits = opened.similar(
            file,
            k,
            kinds=known_kinds(kind),
            path_glob=path,
            after=after,
            before=before,
            min_prob=min_prob,
            min_score=min_score,
            rerank=not no_rerank,
            explain=explain,
            offset=offset,
        )
    show_hits(hits, form, explain=explain)
