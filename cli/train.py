"""`mmsearch train`: how the models of this project were made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

    Needs the extra `train`.
    """
    from mmsearch.retrieval.training import train_towers

    train_towers(config, out=out)
