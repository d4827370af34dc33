"""`mmsearch index`: folders in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import AsJson, Device, LibraryFolder
from mmsearch.cli.progress import finish, watched
from mmsearch.index.errors import UsageError


def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            exists=True,
            help="Folders or files. Without any, every root of the library again.",
            show_default=False,
        ),
    ] = None,
    library: LibraryFolder = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The model of a new library; see `mmsearch models list`. Another one needs --rebuild.",
            show_default=False,
        ),
    ] = None,
    captions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.csv",
            exists=True,
            dir_okay=False,
            help="Captions of photos or sounds: path,caption, or as Clotho and AudioCaps; may be repeated.",
            show_default=False,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Files and folders to leave out, such as 'node_modules'; may be repeated.",
            show_default=False,
        ),
    ] = None,
    include_hidden: Annotated[
        bool, typer.Option("--include-hidden", help="Read names that begin with a dot, too.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="How many files are embedded and stored together.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="How many files are decoded side by side.", show_default=False),
    ] = None,
    device: Device = "auto",
    max_megapixels: Annotated[
        float, typer.Option(metavar="N", min=0.001, help="Skip photos larger than this.")
    ] = 100.0,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Read and embed everything anew; with --model, by another model."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read photos, texts and audio captions into the library.

    Only what is new or has changed is read again, and what has vanished is forgotten.
    Ctrl-C keeps what is done.
    """
    from mmsearch import Library

    with Library.open(library, model=model, device=device, create=bool(paths), switch_model=rebuild) as opened:
        if not paths and not opened.roots():
            raise UsageError("this library has no roots yet; name a folder: `mmsearch index PATH`.")
        with watched() as (on_progress, on_skip):
            report = opened.index(
                paths or (),
                captions=captions or (),
                exclude=exclude or (),
                include_hidden=include_hidden,
                batch_size=batch_size,
                workers=workers,
                max_megapixels=max_megapixels,
                rebuild=rebuild,
                on_progress=on_progress,
                on_skip=on_skip,
            )
    finish(report, as_json=as_json)
