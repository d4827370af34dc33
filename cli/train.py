"""`mmsearch train`: how the models of this project were made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import Device
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
    device: Device = "auto",
) -> None:
    """Train the two towers of a model.

    Prints the directory of the model; progress goes to stderr. Needs the extra `train`.
    """
    from mmsearch.retrieval.training import train_towers

    emit([str(train_towers(config, out=out, device=device, progress=note))])


@train.command()
def fusion(
    config: Annotated[
        Path,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="How to train, and on which data."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where it goes. Without it, it is shipped.", show_default=False),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Train a head of every kind, into DIR.", show_default=False),
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="The model whose vectors are learned from.")] = "bundled",
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep vectors there for the next run.", show_default=False),
    ] = None,
) -> None:
    """Train the fusion that ranks what was found.

    Prints the folder that it was written to; progress goes to stderr. Needs the extra `train`.
    """
    from mmsearch.retrieval.training import train_fusion

    emit([str(train_fusion(config, out=out, compare=compare, model=model, cache=cache, progress=note))])
