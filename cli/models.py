"""`mmsearch models`: which models there are, and new ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import AsJson, Device, PhotosBeside, Seed
from mmsearch.cli.output import Record, emit, json_line, note, show
from mmsearch.cli.progress import skip_line

if TYPE_CHECKING:
    from mmsearch.retrieval.adapting.adaptation import Adaptation
    from mmsearch.retrieval.encoders.base import ModelCard

models = typer.Typer(name="models", help="List, add, adapt or remove models.", no_args_is_help=True)


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
    photos: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Photos to try the exported towers on. Without it: made-up pictures.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a model through open_clip.

    Loads it and exports both of its towers. Needs the extra `open-clip`.
    """
    from mmsearch.retrieval.encoders.open_clip_export import add

    show([card_record(add(spec, name=name, photos=photos, progress=note))], as_json=as_json)


@models.command("adapt")
def adapt_model(
    captions: Annotated[
        Path,
        typer.Option(
            metavar="FILE.csv",
            exists=True,
            dir_okay=False,
            help="Photos and what they show: path,caption, as for `mmsearch index`.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The model to adapt. Without it: MMSEARCH_MODEL, or the bundled one.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NEW", help="What to call it. Without it, a name made from the model's own.", show_default=False
        ),
    ] = None,
    photos: PhotosBeside = None,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many passes over the photos.")] = 60,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Adapt a model to your own captions.

    Learns from most of the photos and holds a fifth of them out. Only if those are found surely better than
    before, a new model is added; the old one stays as it is. Needs at least 200 photos with captions.
    """
    from mmsearch.retrieval.adapting.adaptation import adapt, summary

    done = adapt(
        captions,
        model=model,
        name=name,
        photos=photos,
        epochs=epochs,
        seed=seed,
        device=device,
        on_skip=lambda skipped: note(skip_line(skipped)),
        say=note,
    )
    emit([json_line(adaptation_record(done)) if as_json else summary(done)])
    if done.adapted is not None:
        note(f"to use it in a library: `mmsearch index --rebuild --model {done.adapted}`")


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


def adaptation_record(done: Adaptation) -> Record:
    """What adapting came to, as the object that `--json` prints; recalls and differences in [0, 1]."""
    counts = ("model", "adapted", "photos", "captions", "skipped", "epochs", "seed", "seconds")
    verdict = ("before", "after", "difference", "low", "high")
    return {
        **{name: getattr(done, name) for name in counts},
        "held_out": done.verdict.photos,
        **{name: getattr(done.verdict, name) for name in verdict},
    }
