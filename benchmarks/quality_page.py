"""Make docs/quality.md and docs/quality.png of results/quality.json.

python benchmarks/quality_page.py    (needs matplotlib)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
SETS = {"flickr8k": "Flickr8k", "coco": "COCO"}
SHIPPED = "head shipped"
COSINE, CONVEX, BY_REGIME = "plain cosine", "convex combination", "convex combination, tuned for the regime"
ODDS = "best odds"
MEASURES = ("R@1", "R@5", "R@10", "MRR", "nDCG@10")
Figures = Mapping[str, Any]

INTRODUCTION = """\
# Quality

How often search puts first what was asked for, by what a library holds, for every way of fusing what it knows. All of
it is made by `benchmarks/quality.py` from photos and clips that nothing was trained on ({sets}); this page by
`benchmarks/quality_page.py`. Percent, with 95 % intervals (bootstrap over photos, 2,000 resamples).

One caption of each photo is the query. The library holds the photo (*photo*), another caption (*caption*), an audio
caption (*audio*), a caption as a text document (*text*), each of photo, caption and audio caption with probability 1/2
(*mixed*), or the same with a fifth of the captions swapped between items (*noisy*). Of the names in *mixed* and *noisy*
40 % say nothing, 20 % have words of another caption, 15 % a folder called by one of its words, and 25 % one called by a
word of another photo. *named*: the photo alone with such names, and everyday photos in folders of their labels beside.
Clips with captions lie among the items of every library, and some are asked for by another caption (*sound*). *labels*:
photos alone, a label is asked for, and every photo of it is right, so that R@k is bounded by k over their number.
*short*: the items of *mixed*, asked by one word or two of a caption; every photo whose captions say them is right, and
every clip that says them itself.

Lists are {depth} candidates long; `recall@{depth}` says how often the right item is among them at all.
"""

OTHERS = """\
## With other embedding models: R@1

The shipped head reads the signals of another model by that model's own statistics, as `models add` measures them, and
was trained on none of these. *earlier*: the second version of the bundled model, trained differently. *random*: towers
of random weights, whose vectors of texts still tell equal words and whose vectors of photos tell nothing.
The head serves a model of the same kind nearly as well as its own. With random towers it trusts cosines that tell next
to nothing, and loses to the words alone: what is measured of a model is where its cosines lie, not how much they tell.
"""
NOTES = """\
*Signal*: the single signal that does best in this regime, chosen on these very queries. *Convex combination*: of the
cosines of the views, BM25 of the words and of the name, each scaled from 0 to 1 in the list; its weights are those with
the highest R@1 on the libraries that the heads learn from, once for all regimes and once for each. *Fitted to shuffled
signals*: a head like the shipped one that learned from signals given to the wrong candidates. *Signals shuffled*: the
shipped head asked with such signals; the best single score stays in both.
"""


def main() -> None:
    taken = json.loads((HERE / "results" / "quality.json").read_text(encoding="utf-8"))
    figures = taken["figures"]
    parts = [INTRODUCTION.format(sets=counted(figures), depth=figures["depth"])]
    parts += ["![R@1 by regime](quality.png)\n", "## The heads\n", *table(heads(figures)), NOTES]
    for name, title in SETS.items():
        parts += [f"## {title}: R@1\n", *table(summary(figures["sets"][name]))]
        parts += [f"## {title}: the shipped head against the others, R@1\n", *table(against(figures["sets"][name]))]
        by_views = split(figures["sets"][name], "by_views", ("mixed", "noisy"))
        by_names = split(figures["sets"][name], "by_names", ("named", "mixed", "noisy"))
        parts += [f"## {title}: R@1 by what the right item has\n", *table(by_views)]
        parts += [f"## {title}: R@1 by whose name shares a word with the query\n", *table(by_names)]
        for regime, found in figures["sets"][name].items():
            parts += [f"## {title}, {regime}\n", *table(regime_rows(found))]
    if others := sorted((HERE / "results").glob("quality-*.json")):
        parts += [OTHERS, *table(with_others(json.loads(each.read_text(encoding="utf-8")) for each in others))]
    parts.append(
        f"Taken at commit {taken['commit']} on {taken['machine']['processor']}, one core, seed {taken['seed']}.\n"
    )
    (DOCS / "quality.md").write_text("\n".join(parts), encoding="utf-8")
    draw(figures)


def counted(figures: Figures) -> str:
    """How much was asked."""
    return ", ".join(
        f"{title} {sum(found['queries'] for found in figures['sets'][name].values()):,} queries"
        for name, title in SETS.items()
    )


def table(rows: Iterator[Sequence[str]]) -> list[str]:
    """A Markdown table; the first row is its head."""
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return ["\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"]


def heads(figures: Figures) -> Iterator[Sequence[str]]:
    yield "head", "kind", "parameters", "ms a query of 100 candidates"
    for name, head in figures["heads"].items():
        yield name, head["kind"], f"{head['parameters']:,}", f"{head['ms']:.2f}"


def summary(regimes: Figures) -> Iterator[Sequence[str]]:
    """R@1 of every method in every regime."""
    yield "", *regimes
    methods = dict.fromkeys(name for found in regimes.values() for name in found["methods"] if "signal" not in name)
    best = [found["methods"][found["best_single"]]["R@1"] for found in regimes.values()]
    yield "best single signal", *map(around, best)
    for name in methods:
        yield name, *(around(found["methods"][name]["R@1"]) for found in regimes.values())


def regime_rows(found: Figures) -> Iterator[Sequence[str]]:
    """Every measure of every method in one regime."""
    depth = next(key for key in found if key.startswith("recall@"))
    yield f"{found['queries']} queries, {depth} {found[depth][0]:.1f}", *MEASURES
    for name, values in found["methods"].items():
        yield name, *(around(values[measure]) for measure in MEASURES)


def against(regimes: Figures) -> Iterator[Sequence[str]]:
    """What the shipped head gains on each rival, in points."""
    rivals = next(iter(regimes.values()))["against"][SHIPPED]
    yield "", *(f"{name}" for name in rivals)
    for regime, found in regimes.items():
        yield regime, *(gained(found["against"][SHIPPED][rival]["R@1"]) for rival in rivals)


def with_others(results: Iterable[Figures]) -> Iterator[Sequence[str]]:
    """The shipped head beside the others, with the vectors of other models."""
    yield "", "plain cosine", "best single signal", CONVEX, "shipped head", "shipped head against the single signal"
    for figures in (each["figures"] for each in results):
        for name, title in SETS.items():
            for regime, found in figures["sets"][name].items():
                methods = (COSINE, found["best_single"], CONVEX, SHIPPED)
                values = (around(found["methods"][each]["R@1"]) for each in methods)
                gain = gained(found["against"][SHIPPED]["best single"]["R@1"])
                yield f"{figures['model']}, {title}, {regime}", *values, gain


def split(regimes: Figures, kind: str, shown: Sequence[str]) -> Iterator[Sequence[str]]:
    """R@1 in some regimes by the kinds of their queries."""
    yield "", "queries", COSINE, ODDS, CONVEX, "shipped head"
    for regime in shown:
        found = regimes[regime][kind]
        for label, each in found[SHIPPED].items():
            yield (
                f"{regime}: {label}",
                str(each["queries"]),
                *(around(found[name][label]["R@1"]) for name in (COSINE, ODDS, CONVEX, SHIPPED)),
            )


def around(values: Sequence[float]) -> str:
    """A mean with its interval.

    >>> around([10.44, 8.0, 12.96])
    '10.4 [8.0, 13.0]'
    """
    mean, low, high = values
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def gained(found: Mapping[str, float]) -> str:
    """A gain with its interval and p-value."""
    return f"{found['difference']:+.1f} [{found['low']:+.1f}, {found['high']:+.1f}], p = {found['p']:.3f}"


def draw(figures: Figures) -> None:
    """R@1 by regime of a few methods, with intervals."""
    drawn = (("best single signal", None), (CONVEX, CONVEX), (BY_REGIME, BY_REGIME), ("shipped head", SHIPPED))
    figure, axes = pyplot.subplots(1, len(SETS), figsize=(12, 4), sharey=True)
    for axis, (name, title) in zip(axes, SETS.items(), strict=True):
        regimes = figures["sets"][name]
        for at, (label, method) in enumerate(drawn):
            values = [found["methods"][method or found["best_single"]]["R@1"] for found in regimes.values()]
            errors = [[mean - low for mean, low, _ in values], [high - mean for mean, _, high in values]]
            places = [place + 0.2 * (at - 1.5) for place in range(len(values))]
            axis.bar(places, [mean for mean, _, _ in values], 0.2, yerr=errors, label=label, error_kw={"lw": 0.8})
        axis.set_xticks(range(len(regimes)), list(regimes), rotation=30)
        axis.set_title(title)
    axes[0].set_ylabel("R@1, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(DOCS / "quality.png", dpi=110)


if __name__ == "__main__":
    main()
