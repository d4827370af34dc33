"""`mmsearch models`: which models there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import AsJson
from mmsearch.cli.output import Record, show

if TYPE_CHECKING:
    from mmsearch.retrieval.encoders.base import ModelCard

models = typer.Typer(name="models", help="List, add or remove models.", no_args_is_help=True)


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models that a library can be made with."""
    from mmsearch.retrieval.encoders.registry import available

    show([card_record(card) for card in available()], as_json=as_json)


@models.command("add")
def add_model(
    spec: Annotated[
        str,
        typer.Argument(metavar="SPEC", help="ARCH/TAG, hf-hub:ORG/NAME, or the path of a checkpoint."),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What to call it. Without it, a name made from the model's own.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a model through open_clip.

    Loads it and exports both of its towers. Needs the extra `open-clip`.
    """
    from mmsearch.retrieval.encoders.open_clip_export import add

    show([card_record(add(spec, name=name))], as_json=as_json)


@models.command("remove")
def remove_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `mmsearch models list` names it.")],
) -> None:
    """Remove a model that was added."""
    from mmsearch.retrieval.encoders.registry import remove

    remove(name)


def card_record(card: ModelCard) -> Record:
    """What a listing tells of a model."""
    return {name: getattr(card, name) for name in ("name", "dim", "description", "licence", "fingerprint")}
