"""`mmsearch models adapt`: from a caption file to a new model, if one is surely better."""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from mmsearch.index.errors import UsageError
from mmsearch.retrieval.adapting.captioned import Captioned, OnSkip, Say, check_enough, embed, find
from mmsearch.retrieval.adapting.judging import Verdict, judge, split
from mmsearch.retrieval.adapting.learning import fit
from mmsearch.retrieval.encoders import adapter as adapters
from mmsearch.retrieval.encoders import model_directory, registry
from mmsearch.retrieval.encoders.adapter import Adapter
from mmsearch.retrieval.encoders.batches import unit_rows
from mmsearch.retrieval.encoders.model_directory import BANK, ModelDirectory
from mmsearch.retrieval.scopes import absolute
from mmsearch.retrieval.training.calibration import null_moments
from mmsearch.retrieval.types import Skipped

EPOCHS = 60  # learning mostly stops by itself after 10 to 40
_COMPARED = 1000  # photos whose cosines to each other's captions make the statistics


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What adapting a model came to.

    model:   what was adapted.
    adapted: the name of the new model, None where it would not have been surely better.
    photos, captions: how many were used.
    skipped: how many photos are not there or cannot be read.
    epochs:  how many the adapter was learned in.
    verdict: before and after, among the photos held out.
    """

    model: str
    adapted: str | None
    photos: int
    captions: int
    skipped: int
    epochs: int
    seed: int
    verdict: Verdict
    seconds: float


def adapt(
    captions: Path,
    *,
    model: str | None = None,
    name: str | None = None,
    photos: Path | None = None,
    epochs: int = EPOCHS,
    seed: int = 0,
    device: str = "auto",
    on_skip: OnSkip = lambda skipped: None,
    say: Say = lambda step: None,
) -> Adaptation:
    """Adapt a model to a caption file, and add what comes of it as a new model if it is surely better.

    model:   a name or a model directory; if None MMSEARCH_MODEL, else `bundled`.
    name:    of the new model; if None MODEL-adapted, then MODEL-adapted-2 and so on.
    photos:  a folder to look for the photos in, besides the folder of captions.
    epochs:  at most so many passes over the photos.
    on_skip: is told each photo that is not there or cannot be read.
    say:     is told each step in a few words.

    Raises BadManifest for a file that cannot be read or has too few photos, ModelNotFound, ModelInvalid,
    DeviceUnavailable, and UsageError where the name is taken.
    """
    started = time.monotonic()
    chosen = registry.chosen(model)
    base = model_directory.read(registry.find(chosen))
    target = _target(name, base.path)
    skipped: list[Skipped] = []

    def skip(each: Skipped) -> None:
        skipped.append(each)
        on_skip(each)

    captioned = _embedded(absolute(captions), photos, chosen, device, skip, say)
    say(f"learning from {len(captioned.photos)} photos with {len(captioned.texts)} captions; {len(skipped)} skipped")
    parts = split(captioned, seed)
    learned = fit(parts.train, parts.tuning, epochs=epochs, seed=seed, say=say)
    verdict = judge(parts.held_out, parts.held_out.adapted(learned.adapter), seed)
    done = Adaptation(
        model=base.path.name,
        adapted=target.name if verdict.is_better else None,
        photos=len(captioned.photos),
        captions=len(captioned.texts),
        skipped=len(skipped),
        epochs=learned.epochs,
        seed=seed,
        verdict=verdict,
        seconds=time.monotonic() - started,
    )
    if verdict.is_better:
        _write(done, base, target, learned.adapter, parts.train.adapted(learned.adapter))
    return done


def summary(done: Adaptation) -> str:
    """What came of it, in one line."""
    if done.adapted is None:
        return f"{gain(done.verdict)}: not surely better, so nothing was changed"
    return f"{gain(done.verdict)}: added the model {done.adapted}"


def gain(verdict: Verdict) -> str:
    """Before and after in percent, and the difference with its 95 % interval in points.

    >>> gain(Verdict(photos=200, before=0.521, after=0.529, low=-0.004, high=0.021))
    'held-out R@10 52.1 -> 52.9 %, difference 0.8 [-0.4, 2.1]'
    """
    before, after, difference, low, high = (
        f"{100 * value:z.1f}"
        for value in (verdict.before, verdict.after, verdict.difference, verdict.low, verdict.high)
    )
    return f"held-out R@10 {before} -> {after} %, difference {difference} [{low}, {high}]"


def _target(name: str | None, base: Path) -> Path:
    """Where the new model will be; UsageError where there is one already."""
    directory = registry.models_directory()
    if name is not None:
        if (directory / registry.check_name(name)).exists():
            raise UsageError(f"there is already a model {name}; remove it, or choose another --name")
        return directory / name
    stem = registry.check_name(f"{base.absolute().name}-adapted")
    names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
    return next(directory / each for each in names if not (directory / each).exists())


def _embedded(captions: Path, photos: Path | None, model: str, device: str, on_skip: OnSkip, say: Say) -> Captioned:
    """The photos and captions of a file, by the towers of a model; BadManifest where they are too few."""
    found = find(captions, photos, on_skip)
    with closing(registry.load(model, device=device)) as encoder:
        captioned = embed(found, encoder, on_skip, say)
    count = len(captioned.photos)
    check_enough(captions, count, skipped=len(found) - count)
    return captioned


def _write(done: Adaptation, base: ModelDirectory, target: Path, learned: Adapter, train: Captioned) -> None:
    """Write the new model: the base, the adapter, and statistics of the space that both make."""
    verdict = done.verdict
    metrics = {
        "adapted_from": {"name": done.model, "fingerprint": base.card.fingerprint},
        "photos": done.photos,
        "captions": done.captions,
        "epochs": done.epochs,
        "seed": done.seed,
        "held_out": {
            "photos": verdict.photos,
            "R@10_before": verdict.before,
            "R@10": verdict.after,
            "interval": [verdict.low, verdict.high],
        },
    }
    card = replace(
        base.card,
        name=target.name,
        description=f"{base.card.description}; adapted to {done.photos} photos, {gain(verdict)}",
        null=_null(train),
        metrics=metrics,
    )
    with model_directory.staged(target) as folder:
        shutil.copytree(base.path, folder, dirs_exist_ok=True)
        earlier = adapters.read(base.adapter, card.dim) if base.adapter else Adapter.identity(card.dim)
        adapters.write(earlier.then(learned), folder)
        if base.bank is not None:
            bank = unit_rows(np.load(base.bank).astype(np.float32) @ learned.text)
            np.save(folder / BANK, bank.astype(np.float16))
        model_directory.write(replace(base, path=folder, card=card))


def _null(captioned: Captioned) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and deviation of the cosine of photos and captions that do not belong together, by modality."""
    captions = np.unique(captioned.owner, return_index=True)[1]  # one of each photo
    rows = {"text": captioned.texts[captions[:_COMPARED]], "image": captioned.photos[:_COMPARED]}
    own = np.arange(len(rows["image"]))
    return {query: {view: null_moments(rows[query], rows[view], own) for view in rows} for query in rows}
