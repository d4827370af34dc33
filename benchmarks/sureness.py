"""How honest the probabilities are, and how well the library knows that it holds nothing that fits.

    MMSEARCH_DATA=DIR python benchmarks/sureness.py [--cache DIR] [--model NAME] [--rotations N]

The judged sets are those of benchmarks/quality.py (split `dev`), a fifth of whose queries lost their items. Judged are
the shipped head and calibration. Writes results/sureness.json and, from it, docs/sureness.md.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quality import RECIPE, SETS, dev_sets, held_clips
from record import record

from mmsearch.metrics import auroc, ece
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.evaluation.absent import taken_out
from mmsearch.retrieval.evaluation.examples import examples_of
from mmsearch.retrieval.evaluation.judged import JudgedQuery, JudgedSet, judged_set
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.evaluation.subjects import read_photos
from mmsearch.retrieval.fusion import calibration
from mmsearch.retrieval.fusion.calibration import Calibration
from mmsearch.retrieval.fusion.heads import shipped
from mmsearch.retrieval.training.fusion_calibration import Lists, lists_of
from mmsearch.retrieval.training.fusion_recipe import FusionRecipe, read_fusion_recipe
from mmsearch.retrieval.types import Hits

PAGE = Path(__file__).parent.parent / "docs" / "sureness.md"
TAKEN_OUT = 0.2
FOREIGN = "foreign"
RESAMPLES = 1000
BINS = 10
Groups = NDArray[np.str_]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--recipe", type=Path, default=RECIPE)
    ask.add_argument("--cache", type=Path)
    ask.add_argument("--model", default=registry.BUNDLED)
    ask.add_argument("--rotations", type=int, default=1)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--name", default="sureness")
    want = ask.parse_args()
    figures: dict[str, Any] = {"model": want.model, "head": shipped().name, "taken_out": TAKEN_OUT}
    for name in SETS:
        found = list(judged_on(name, want))
        figures[name] = dict(by_regime(found))
    kept = record(want.name, figures, seed=want.seed)
    PAGE.write_text(page(json.loads(kept.read_text())))
    print(kept, PAGE)


def judged_on(name: str, want: argparse.Namespace) -> Iterator[tuple[str, Lists, Groups]]:
    """The regime, the lists of the shipped head, and the groups of the queries, of each judged set."""
    recipe = read_fusion_recipe(want.recipe)
    with closing(Remembering(registry.load(want.model, device="cpu"), want.cache)) as towers:
        sets = [taken_out(each, TAKEN_OUT, want.seed) for each in dev_sets(recipe, name, want.rotations, want.seed)]
        for judged in [*sets, foreign(recipe, name, want.seed)]:
            made = examples_of(judged, towers, model=want.model)
            asked = made.valid.any(axis=1)
            print(name, made.regime[0], len(made), flush=True)
            yield str(made.regime[0]), lists_of(shipped(), made), made.group[asked]


def foreign(recipe: FusionRecipe, name: str, seed: int) -> JudgedSet:
    """Photos as in `mixed` without any clip, asked for themselves and, as many times, for sounds."""
    photos, _ = read_photos(recipe.root / name / "captions.csv", recipe.root / name / "images", "dev")
    judged = judged_set("mixed", photos, seed=seed)
    sounds = [JudgedQuery(clip.captions[0], frozenset(), clip.name, FOREIGN) for clip in held_clips(recipe)]
    queries = [replace(query, regime=FOREIGN) for query in judged.queries]
    return JudgedSet(judged.items, (*queries, *sounds[: len(queries)]))


def by_regime(found: list[tuple[str, Lists, Groups]]) -> Iterator[tuple[str, Any]]:
    """The figures of each regime and of all."""
    for regime in [*dict.fromkeys(each for each, _, _ in found), "all"]:
        parts = [(lists, groups) for each, lists, groups in found if regime in (each, "all")]
        yield regime, figures_of([lists for lists, _ in parts], np.concatenate([groups for _, groups in parts]))


def figures_of(parts: list[Lists], groups: Groups) -> dict[str, Any]:
    """What the probabilities are worth."""
    features, scores, right, there = (
        np.concatenate([getattr(part, name) for part in parts]) for name in Lists.__slots__
    )
    chances, fits = probabilities(calibration.shipped(), features, scores)
    shown = np.isfinite(scores) & there[:, None]
    first = float(right[there, 0].mean())
    return {
        "queries": len(there),
        "absent": int((~there).sum()),
        "R@1": rounded(first),
        "mean_first": rounded(chances[there, 0].mean()),
        "ece_first": rounded(ece(chances[there, 0], right[there, 0])),
        "ece_ten": rounded(ece(chances[shown], right[shown])),
        "auroc": [rounded(each) for each in bootstrap(lambda at: auroc(fits[at], there[at]), groups)],
        "ceiling": rounded((1 + first) / 2),
        "warned_absent": rounded((fits[~there] < Hits.UNLIKELY).mean()),
        "warned_present": rounded((fits[there] < Hits.UNLIKELY).mean()),
        "reliability": reliability(chances[there, 0], right[there, 0]),
    }


def probabilities(
    sure: Calibration, features: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, H) of the first hits, 0 where there is none, and (N,) that anything fits."""
    judged = [sure.of_features(one, best) for one, best in zip(features, scores[:, 0].tolist(), strict=True)]
    log_odds = np.array([each.log_odds(row) for each, row in zip(judged, scores, strict=True)])
    return 1 / (1 + np.exp(-log_odds)), np.array([each.fits for each in judged])


def reliability(stated: NDArray[np.float64], true: NDArray[np.bool_]) -> list[dict[str, float]]:
    """What came true of what was stated, in bins of equal width that hold anything."""
    places = np.minimum((stated * BINS).astype(int), BINS - 1)
    return [
        {"queries": int(inside.sum()), "stated": rounded(stated[inside].mean()), "true": rounded(true[inside].mean())}
        for inside in (places == each for each in range(BINS))
        if inside.any()
    ]


def bootstrap(measure: Callable[[NDArray[np.int64]], float], groups: Groups) -> tuple[float, float, float]:
    """The measure of all queries, and its 95 % percentile interval over groups drawn with replacement."""
    names, of = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(of, kind="stable"), np.cumsum(np.bincount(of))[:-1])
    rng = np.random.default_rng(0)
    drawn = (np.concatenate([members[at] for at in rng.integers(0, len(names), len(names))]) for _ in range(RESAMPLES))
    low, high = np.nanquantile([measure(each) for each in drawn], [0.025, 0.975])
    return measure(np.arange(len(groups))), float(low), float(high)


def rounded(value: float) -> float:
    return round(float(value), 4)


def page(document: dict[str, Any]) -> str:
    """docs/sureness.md as it should read."""
    figures = document["figures"]
    tables = [f"## {name}\n\n{table(figures[name])}" for name in SETS]
    return TEXT.format(head=figures["head"], share=figures["taken_out"], commit=document["commit"]) + "\n\n".join(
        [*tables, f"## What came true\n\n{came_true(figures[SETS[0]]['all']['reliability'])}"]
    )


def table(regimes: dict[str, Any]) -> str:
    """A row for each regime."""
    titles = (
        "regime", "queries, absent", "R@1", "stated of the first", "ECE of the first", "ECE of ten", "AUROC of `fits`",
        "ceiling", "warned, absent", "warned, present",
    )  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for regime, each in regimes.items():
        middle, low, high = each["auroc"]
        cells = [f"{each['queries']}, {each['absent']}", f"{each['R@1']:.3f}", f"{each['mean_first']:.3f}"]
        cells += [f"{each['ece_first']:.3f}", f"{each['ece_ten']:.3f}", f"{middle:.3f} ({low:.3f}–{high:.3f})"]
        cells += [f"{each[name]:.3f}" for name in ("ceiling", "warned_absent", "warned_present")]
        lines.append(" | ".join([f"| {regime}", *cells]) + " |")
    return "\n".join(lines)


def came_true(bins: list[dict[str, float]]) -> str:
    """What was stated of first answers, and how many of them were right."""
    lines = ["| queries | stated | right |", "|---|---|---|"]
    return (
        "\n".join([*lines, *(f"| {each['queries']} | {each['stated']:.3f} | {each['true']:.3f} |" for each in bins)])
        + "\n"
    )


TEXT = """# How sure the answers are

Made by `benchmarks/sureness.py` from `benchmarks/results/sureness.json` (commit {commit}, head `{head}`); the judged
sets are those of [quality.md](quality.md), on photos that neither the towers nor the fusion nor its calibration learned
from.

- *ECE* is the expected calibration error in 15 bins, of the first answer and of the first ten, where the answer is
  there.
- *AUROC* of `fits` is the chance that a query whose item is in the library has a higher `fits` than one whose item was
  taken out ({share:.0%} of the queries), with its 95 % bootstrap interval by photo.
- *ceiling* is (1 + R@1) / 2: where the right item does not come first, taking it out hardly changes the list, so that
  such queries are told apart little better than by chance. An AUROC much above it asks for a better ranking.
- *foreign* are queries for sounds, put to a library that holds photos and captions of photos alone: nothing there comes
  near. Elsewhere what was taken out leaves others of its kind behind.
- *warned* is the share of queries that are answered with "no good match".

"""


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
