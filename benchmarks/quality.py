"""What fusion is worth: every regime, by every single signal, by fusion without learning, and by every head.

    MMSEARCH_DATA=DIR python benchmarks/quality.py --heads DIR [--cache DIR] [--model NAME] [--rotations N]

DIR holds flickr8k/ and coco/ (captions.csv, images/), audio-captions/ and everyday/ as recipes/fusion.toml names them.
Heads are those that `mmsearch train fusion --compare DIR` wrote, and the shipped one. Judged are the splits `dev`, the
clips and labelled photos held out; the convex combinations and the control learn from the recipe's first shards. Needs
the extra `train`. Writes results/quality.json; benchmarks/quality_page.py makes docs/quality.md of it.

The shipped head on the vectors of other models, which it was not trained on (random_towers.py makes one of them):

    ... quality.py --model earlier --name quality-earlier --rotations 1 --regimes photo caption mixed noisy
    ... quality.py --model random  --name quality-random  --rotations 1 --regimes photo caption mixed noisy
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fusing import METHODS, SOURCES, normalised, sources, tuned
from numpy.typing import NDArray
from record import record

from mmsearch.index.items import VIEWS
from mmsearch.metrics import compare, interval, recall_at
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.evaluation.examples import choose, examples_of, head_scores, join, plain_cosine, ranked
from mmsearch.retrieval.evaluation.judged import LABELS, REGIMES, SHORT, JudgedSet, judged_set, labelled_set, short_set
from mmsearch.retrieval.evaluation.judging import measures
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.evaluation.subjects import Subject, read_clips, read_labelled, read_photos
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.heads import head_class, load, shipped
from mmsearch.retrieval.fusion.heads.base import CONSTANT, Head
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, VIEW_SIGNALS
from mmsearch.retrieval.paging import MIN_DEPTH
from mmsearch.retrieval.training.fusion_libraries import Strange, examples, libraries, read_material
from mmsearch.retrieval.training.fusion_recipe import FusionRecipe, read_fusion_recipe
from mmsearch.retrieval.training.sources import share

RECIPE = Path(__file__).parent.parent / "recipes" / "fusion.toml"
SETS = ("flickr8k", "coco")
CONVEX, BY_REGIME, COSINE = "convex combination", "convex combination, tuned for the regime", "plain cosine"
ODDS = "best odds"
TIMED = 100  # candidates
Scores = Mapping[str, NDArray[np.floating]]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--heads", type=Path)
    ask.add_argument("--recipe", type=Path, default=RECIPE)
    ask.add_argument("--cache", type=Path)
    ask.add_argument("--model", default=registry.BUNDLED)
    ask.add_argument("--shards", type=int, default=2, help="of the recipe, that what is tuned here learns from")
    ask.add_argument("--rotations", type=int, default=2)
    ask.add_argument("--regimes", nargs="+", default=[*REGIMES, SHORT, LABELS])
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--name", default="quality")
    want = ask.parse_args()
    recipe = read_fusion_recipe(want.recipe)
    learn = learned_from(replace(recipe, shards=recipe.shards[: want.shards]), want.model, want.cache)
    judged = {name: judged_on(recipe, name, want) for name in SETS}
    weights = {regime: tuned_on(learn, regime) for regime in (None, *sorted(set(learn.regime.tolist())))}
    others = sorted(want.heads.glob("*.npz")) if want.heads else []
    heads = {"shipped": shipped()} | {file.stem: load(file) for file in others}
    heads["shipped, fitted to shuffled signals"] = control(shipped(), learn, recipe, want.seed)
    with closing(registry.load(want.model, device="cpu")) as encoder:
        fingerprint = encoder.card.fingerprint
    figures = {
        "model": want.model,
        "fingerprint": fingerprint,
        "depth": MIN_DEPTH,
        "rotations": want.rotations,
        "shards": want.shards,
        "convex_weights": {
            regime or "all": dict(zip(SOURCES, np.round(each.astype(float), 3).tolist(), strict=True))
            for regime, each in weights.items()
        },
        "heads": {name: described(head, judged[SETS[0]]) for name, head in heads.items()},
        "sets": {name: dict(regimes(each, heads, weights, want.seed)) for name, each in judged.items()},
    }
    print(record(want.name, figures, seed=want.seed))


def say(line: str) -> None:
    """One step that is done."""
    print(line, flush=True)


def learned_from(recipe: FusionRecipe, model: str, cache: Path | None) -> Examples:
    """What heads learn from by that recipe."""
    material = read_material(recipe.root, recipe.sources)
    others = [subject.photo for subject in material.photos if subject.photo is not None]
    with closing(Strange(registry.load(model, device="cpu"), cache, others, recipe.estranged)) as towers:
        made = examples(list(libraries(recipe, material, calibrating=False)), towers, say, model=model)
        towers.save()
    return made


def judged_on(recipe: FusionRecipe, name: str, want: argparse.Namespace) -> Examples:
    """The queries of one set's dev photos, with all held-out clips beside them; labels with the first set."""
    with closing(Remembering(registry.load(want.model, device="cpu"), want.cache)) as towers:
        made = []
        for judged in dev_sets(recipe, name, want.rotations, want.seed, want.regimes):
            made.append(examples_of(judged, towers, model=want.model))
            say(f"{name} {made[-1].regime[0]}: {len(made[-1])} queries")
        towers.save()
    return join(made)


def dev_sets(
    recipe: FusionRecipe, name: str, rotations: int, seed: int, only: Sequence[str] = (*REGIMES, LABELS)
) -> Iterator[JudgedSet]:
    """The judged sets of those regimes."""
    photos, _ = read_photos(recipe.root / name / "captions.csv", recipe.root / name / "images", "dev")
    clips, labelled = held_clips(recipe), read_labelled(recipe.root / recipe.sources.labelled, held=True)
    for regime in (each for each in REGIMES if each in only):
        for rotation in range(rotations):
            yield judged_set(regime, photos, clips, labelled, rotation=rotation, seed=seed)
    if SHORT in only:
        yield short_set(photos, clips, seed=seed)
    if name == SETS[0] and LABELS in only:
        yield labelled_set(labelled, clips, seed=seed)


def held_clips(recipe: FusionRecipe) -> list[Subject]:
    """The clips that the recipe keeps out, and those of AudioCaps' validation split."""
    clips = [clip for file in recipe.sources.clips for clip in read_clips(recipe.root / file)]
    kept_out = [clip for clip in clips if share(clip.name) < recipe.sources.held_clips and len(clip.captions) > 1]
    return kept_out + read_clips(recipe.root / "audio-captions" / "audiocaps_val.csv")


def tuned_on(learn: Examples, regime: str | None) -> NDArray[np.float32]:
    """The weights of the convex combination for a regime, or for all of them together."""
    some = learn if regime is None else choose(learn, learn.regime == regime)
    return tuned(normalised(sources(some)), some)


def control(head: Head, learn: Examples, recipe: FusionRecipe, seed: int) -> Head:
    """A head of the shipped kind that learned from signals given to the wrong candidates: it must gain nothing."""
    shuffled_examples = shuffled(learn, seed)
    return head_class(head.name).fit(shuffled_examples, recipe.options_of(head.name))


def shuffled(given: Examples, seed: int) -> Examples:
    """The signals of each candidate given to another of its list; the base and the views that it has stay its own."""
    rng = np.random.default_rng(seed)
    views, items = given.views.copy(), given.items.copy()
    for at, count in enumerate(given.valid.sum(axis=1).tolist()):
        order = rng.permutation(count)
        views[at, :count], items[at, :count] = given.views[at, order], given.items[at, order]
    return replace(given, views=views, items=items)


def regimes(
    judged: Examples, heads: Mapping[str, Head], weights: Mapping[str | None, NDArray[np.float32]], seed: int
) -> Iterator[tuple[str, Any]]:
    """The figures of each regime."""
    for regime in dict.fromkeys(judged.regime.tolist()):
        some = choose(judged, judged.regime == regime)
        lists = sources(some)
        scores = {f"signal {name}": each for name, each in singles(some)}
        scores[COSINE] = plain_cosine(some)
        scores[ODDS] = some.base
        scores |= {name: fuse(lists) for name, fuse in METHODS.items()}
        scores[CONVEX] = normalised(lists) @ weights[None]
        scores[BY_REGIME] = normalised(lists) @ weights.get(regime, weights[None])
        scores |= {f"head {name}": head_scores(head, some) for name, head in heads.items()}
        wrong = shuffled(some, seed)
        scores["head shipped, signals shuffled"] = head_scores(heads["shipped"], wrong)
        yield regime, figures_of(some, scores)
        say(regime)


def singles(judged: Examples) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Every signal by itself, of one view and as the best over the views."""
    for at, name in enumerate(VIEW_SIGNALS):
        values = np.where(judged.present, judged.views[..., at].astype(np.float32), -np.inf)
        values = -values if name == "hub" else values
        values = np.where(judged.present, values, -np.inf)
        for column, view in enumerate(VIEWS):
            yield f"{view}.{name}", values[..., column]
        yield f"best {name}", values.max(axis=-1)
    for at, name in enumerate(ITEM_SIGNALS):
        yield name, judged.items[..., at].astype(np.float32)


def figures_of(judged: Examples, scores: Scores) -> dict[str, Any]:
    """Every measure of every method, and how the heads compare with the best of the others."""
    values = {name: measures(judged, each) for name, each in scores.items()}
    simple = {name for name in scores if name.startswith("signal ")} | {COSINE, ODDS}
    best_single = max(simple, key=lambda name: (values[name]["R@1"].mean(), values[name]["MRR"].mean()))
    kept = [name for name in scores if name not in simple or name in (best_single, COSINE, ODDS)]
    rivals = {"best single": best_single, "convex": CONVEX, "convex for the regime": BY_REGIME, "cosine": COSINE}
    hits = ranked(judged, judged.base)
    return {
        "queries": len(judged),
        "groups": len(set(judged.group.tolist())),
        f"recall@{MIN_DEPTH}": percent(recall_at(hits, judged.wanted.astype(np.int64), MIN_DEPTH), judged),
        "best_single": best_single,
        "methods": {name: {key: percent(each, judged) for key, each in values[name].items()} for name in kept},
        "against": {
            name: {
                rival: {key: gain(values[of][key], values[name][key], judged) for key in ("R@1", "MRR")}
                for rival, of in rivals.items()
            }
            for name in kept
            if name.startswith("head ")
        },
        **{
            split: {
                name: dict(by(judged, labels, values[name]["R@1"])) for name in (COSINE, CONVEX, ODDS, "head shipped")
            }
            for split, labels in (("by_views", views_of(judged)), ("by_names", names_of(judged)))
        },
        "singles_R@1": {name: round(100 * float(values[name]["R@1"].mean()), 2) for name in sorted(simple)},
    }  # fmt: skip


def views_of(judged: Examples) -> NDArray[np.str_]:
    """(N,) which views the right item of each query has."""
    return np.array([" + ".join(view for view, has in zip(VIEWS, row, strict=True) if has) for row in judged.has])


def names_of(judged: Examples) -> NDArray[np.str_]:
    """(N,) whose name shares a word with each query."""
    says = judged.items[..., ITEM_SIGNALS.index("name")] > 0
    right, others = (says & judged.relevant).any(axis=1), (says & ~judged.relevant).any(axis=1)
    return np.where(right, "the right name", np.where(others, "other names alone", "no name"))


def by(judged: Examples, labels: NDArray[np.str_], values: NDArray[np.float64]) -> Iterator[tuple[str, Any]]:
    """R@1 of the queries of each label (N,)."""
    for label in sorted(set(labels.tolist())):
        chosen = labels == label
        yield label, {"queries": int(chosen.sum()), "R@1": percent(values[chosen], choose(judged, chosen))}


def percent(values: NDArray[np.float64], judged: Examples) -> list[float]:
    """Mean, low and high, in percent."""
    found = interval(values, judged.group.tolist())
    return [round(100 * each, 2) for each in (found.mean, found.low, found.high)]


def gain(before: NDArray[np.float64], after: NDArray[np.float64], judged: Examples) -> dict[str, float]:
    """The difference in points, its interval and p-value."""
    found = compare(before, after, judged.group.tolist())
    points = {name: round(100 * getattr(found, name), 2) for name in ("difference", "low", "high")}
    return points | {"p": round(found.p_value, 4)}


def described(head: Head, judged: Examples) -> dict[str, Any]:
    """The kind of a head, how many parameters it has, and how long it takes for one query of TIMED candidates."""
    signals = choose(judged, np.flatnonzero(judged.valid.sum(axis=1) >= TIMED)[:1]).signals(0)
    cut = {name: getattr(signals, name)[:TIMED] for name in ("odds", "base", "views", "present", "items", "vectors")}
    few = replace(signals, **cut, valid=signals.valid[:TIMED])
    took = []
    for _ in range(200):
        begun = time.perf_counter()
        head.score(few)
        took.append(time.perf_counter() - begun)
    learned = [array.size for name, array in head.parameters.items() if not name.startswith(CONSTANT)]
    return {"kind": head.name, "parameters": int(sum(learned)), "ms": round(1000 * float(np.median(took)), 3)}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
