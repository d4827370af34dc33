"""`mmsearch eval`: how well search finds photos by captions that nobody stored, as libraries would hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import BadManifest, UsageError
from mmsearch.retrieval.adapting.captioned import OnSkip, none_there
from mmsearch.retrieval.evaluation.examples import examples_of, head_scores, plain_cosine, ranked
from mmsearch.retrieval.evaluation.judged import REGIMES, judged_set
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.evaluation.subjects import Subject, read_photos
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.heads.base import Head
from mmsearch.retrieval.metrics import Comparison, Interval, compare, interval, mrr, ndcg_at, recall_at
from mmsearch.retrieval.types import Skipped

MIN_PHOTOS = 20  # intervals of fewer say nothing
JUDGED = ("photo", "caption", "audio", "mixed", "noisy")
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One measure in one regime, in [0, 1]: the plain cosine of the best view, the ranking, and what it gains.

    measure: R@1, R@5, R@10, MRR or nDCG@10.
    queries: how many were asked, one a photo.
    """

    regime: str
    measure: str
    queries: int
    cosine: Interval
    ranking: Interval
    gain: Comparison


def judge(
    caption_file: Path,
    encoder: Remembering,
    head: Head,
    *,
    model: str,
    photos: Path | None = None,
    regimes: Sequence[str] = (),
    seed: int = 0,
    on_skip: OnSkip = lambda skipped: None,
    say: Callable[[str], None] = lambda step: None,
) -> list[Verdict]:
    """Judge a head by a caption file: a caption of each photo is asked for, the others are what a library may hold.

    photos:  a folder to look for the photos in, besides the folder of caption_file.
    regimes: those of JUDGED to judge in; if none is named, all that the captions allow.
    model:   the name of the encoder's model.

    Raises BadManifest for a file that cannot be read, has too few photos or too few captions, and UsageError for a
    regime that there is not.
    """
    if unknown := [name for name in regimes if name not in JUDGED]:
        raise UsageError(f"there is no regime {unknown[0]!r}; there are {', '.join(JUDGED)}.")
    subjects = _subjects(caption_file, photos, encoder, on_skip, say)
    verdicts: list[Verdict] = []
    for regime in _possible(caption_file, subjects, regimes, say):
        say(f"judging search by {regime}")
        drawn = judged_set(regime, subjects, seed=seed)
        verdicts += verdicts_of(regime, examples_of(drawn, encoder, model=model), head)
    return verdicts


def measures(examples: Examples, scores: Values) -> dict[str, Values]:
    """R@1, R@5, R@10, MRR and nDCG@10 (N,) of each query, by scores (N, C) of its candidates."""
    hits, wanted = ranked(examples, scores), examples.wanted.astype(np.int64)
    recalls = {f"R@{k}": recall_at(hits, wanted, k) for k in (1, 5, 10)}
    return recalls | {"MRR": mrr(hits), "nDCG@10": ndcg_at(hits, wanted, 10)}


def verdicts_of(regime: str, examples: Examples, head: Head) -> list[Verdict]:
    """Every measure of the examples, by plain cosine and by the head."""
    before, after = (measures(examples, scores) for scores in (plain_cosine(examples), head_scores(head, examples)))
    group = examples.group.tolist()
    return [
        Verdict(
            regime=regime,
            measure=name,
            queries=len(examples),
            cosine=interval(before[name], group),
            ranking=interval(after[name], group),
            gain=compare(before[name], after[name], group),
        )
        for name in before
    ]


def _subjects(
    caption_file: Path, folder: Path | None, encoder: Remembering, on_skip: OnSkip, say: Callable[[str], None]
) -> list[Subject]:
    """The photos that are there and can be read, embedded; BadManifest where they are too few."""
    named, missing = read_photos(caption_file, folder)
    if missing and not named:
        raise BadManifest(path=caption_file, reason=none_there(missing))
    for name in missing:
        on_skip(Skipped(Path(name), f"not there, though {caption_file.name} captions it"))
    readable = encoder.photos([subject.photo for subject in named if subject.photo is not None], on_skip, say)
    subjects = [subject for subject in named if subject.photo in readable]
    if len(subjects) < MIN_PHOTOS:
        skipped = len(missing) + len(named) - len(subjects)
        more = f"; {skipped} more are not there or cannot be read" if skipped else ""
        raise BadManifest(
            path=caption_file,
            reason=f"it has captions for {len(subjects)} photos, and judging needs at least {MIN_PHOTOS}{more}.",
        )
    return subjects


def _possible(
    caption_file: Path, subjects: Sequence[Subject], wanted: Sequence[str], say: Callable[[str], None]
) -> list[str]:
    """The regimes to judge in; only `photo` where too few photos have a caption to ask and another to store."""
    regimes = [name for name in REGIMES if name in (wanted or JUDGED)]
    several = sum(len(subject.captions) > 1 for subject in subjects)
    if several >= MIN_PHOTOS:
        return regimes
    lack = f"{several} of its photos have a second caption, and all regimes but `photo` need {MIN_PHOTOS} that do"
    if any(name != "photo" for name in wanted):
        raise BadManifest(path=caption_file, reason=f"{lack}.")
    say(f"only the regime photo is judged: {lack}")
    return ["photo"]
