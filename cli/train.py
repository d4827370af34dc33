"""`mmsearch train`: how the models of this project were made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.output import emit, note

train = typer.Typer(name="train", help="Train models.", no_args_is_help=True)


@train.command()
def towers(
    config: Annotated[
        Path,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="What to train, and on which data."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the model goes. Without it, where FILE says.", show_default=False),
    ] = None,
) -> None:
    """Train the two towers of a model.

    Prints the directory of the model; progress goes to stderr. Needs the extra `train`.
    """
    from mmsearch.retrieval.training import train_towers

    emit([str(train_towers(config, out=out, progress=note))])
