"""Make benchmarks/README.md and its plots of all results that claim a speed.

    python benchmarks/speed_page.py [--quick]    (needs matplotlib, without --quick)

Results are those of results/*.json whose figures have "claims", as record.claim makes them. --quick prints the table of
what `make bench` left in build/bench, and writes nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from record import QUICK, RESULTS

HERE = Path(__file__).parent
ROWS = range(1, 15)
FORMS = ("scan", "codes", "lists")
PANELS = {"build_s": "to build, s", "bytes_a_row": "bytes a row", "ms": "a text query, ms", "recall_at_10": "recall@10"}
Claim = Mapping[str, Any]

INTRODUCTION = """\
# Speed

What is claimed of speed, beside what it was measured against, made by `benchmarks/speed_page.py` from
`benchmarks/results/`. Every ratio is the median of those of neighbouring runs, both sides taking turns on one machine
(`timing.py`), since nothing else carries over to another. The times are medians of the same runs; other work may have
shared the machine. What was tried, and what of it did not help, is in [NOTES.md](NOTES.md).

| # | what | ours | against | ratio | asked | met |
|---|---|---|---|---|---|---|
"""

AGAIN = """
## Taking the figures again

    make bench                      # the quick form of all of them, in build/bench, and the table
    python benchmarks/peers.py      # installs the peers, each into an environment of its own below build/peers

| result | command | commit | on | repeats |
|---|---|---|---|---|
"""


def main() -> None:
    is_quick = "--quick" in sys.argv[1:]
    documents = load(QUICK if is_quick else RESULTS)
    if is_quick:
        print("\n".join(rows(claims(documents))))
        return
    names = plots(documents)
    (HERE / "README.md").write_text(page(documents, names), encoding="utf-8")


def load(folder: Path) -> list[dict[str, Any]]:
    """The results in a folder that claim something, by name."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [each for each in documents if each["figures"].get("claims") is not None]


def claims(documents: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """What all results claim, by row."""
    return sorted((claim for each in documents for claim in each["figures"]["claims"]), key=lambda claim: claim["row"])


def page(documents: Sequence[Mapping[str, Any]], plots: Mapping[str, str]) -> str:
    """The text of README.md."""
    said = claims(documents)
    table = "\n".join(rows(said)) + "\n"
    shown = "".join(f"\n![{title}]({name})\n" for name, title in plots.items())
    return INTRODUCTION + table + _missing(said) + _behind(said) + shown + AGAIN + "\n".join(_taken(documents)) + "\n"


def rows(claims: Sequence[Claim]) -> list[str]:
    """The lines of the table."""
    return [
        f"| {each['row']} | {each['what']} | {each['ours']} | {each['against']} | {each['ratio']:g} | "
        f"{each['asked']} | {_verdict(each)} |"
        for each in claims
    ]


def reached(claim: Claim) -> float:
    """How far a ratio goes beyond what is asked of it, a hundred times at most; from 1 on it is met."""
    ratio, asked = float(claim["ratio"]), _bound(claim)
    return ratio / asked if _wants_more(claim) else asked / max(ratio, asked / 100)  # an overhead may be below 0


def is_behind(claim: Claim) -> bool:
    """Whether what we are compared with is ahead. A bound below 1 on what shall be large is no speed, but a quality."""
    if _wants_more(claim):
        return _bound(claim) >= 1 > float(claim["ratio"])
    return _bound(claim) <= 1 < float(claim["ratio"])


def _wants_more(claim: Claim) -> bool:
    return bool(claim["asked"].startswith("at least"))


def _bound(claim: Claim) -> float:
    return float(claim["asked"].split()[-1])


def _verdict(claim: Claim) -> str:
    if claim["met"]:
        return "yes"
    return "**no, and behind**" if is_behind(claim) else "no"


def _missing(claims: Sequence[Claim]) -> str:
    absent = [str(row) for row in ROWS if row not in {each["row"] for each in claims}]
    return f"\nThere is no result of rows {', '.join(absent)} yet.\n" if absent else ""


def _behind(claims: Sequence[Claim]) -> str:
    lines = [f"- {each['what']}: {each['ours']} against {each['against']}" for each in claims if is_behind(each)]
    return "\nWhere what we are compared with is ahead:\n\n" + "\n".join(lines) + "\n" if lines else ""


def _taken(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"| {each['name']} | `{each['command']}` | {each['commit']} | {each['machine']['processor']}, "
        f"{each['machine']['cores']} cores, Python {each['machine']['python']}, {each['taken_at'][:10]} | "
        f"{each['repeats']} |"
        for each in documents
    ]


def plots(documents: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Draw what there is to draw; the names of the files and what they show."""
    import matplotlib

    matplotlib.use("Agg")
    made = {"speed.png": "how far each ratio goes beyond what is asked of it; from 1 on it is met"}
    _bars(claims(documents), HERE / "speed.png")
    grown = [each["figures"]["curves"] for each in documents if "curves" in each["figures"]]
    if grown:
        _curves(grown, HERE / "growth.png")
        made["growth.png"] = "building, size, latency and recall from a thousand rows on"
    return made


def _bars(claims: Sequence[Claim], path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.8 + 0.28 * len(claims)), layout="constrained")
    names = [f"{each['row']}  {each['what']}" for each in claims]
    places = range(len(claims), 0, -1)
    axes.barh(places, [reached(each) for each in claims], color=["#4a7" if each["met"] else "#c65" for each in claims])
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="times what is asked", yticks=places, yticklabels=names)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _curves(grown: Sequence[Mapping[str, Any]], path: Path) -> None:
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(13, 3.2), layout="constrained")
    for axes, (measure, title) in zip(panels, PANELS.items(), strict=True):
        for form in FORMS:
            by_size = {int(size): at[measure] for curves in grown for size, at in curves.get(form, {}).items()}
            axes.plot(sorted(by_size), [by_size[size] for size in sorted(by_size)], marker="o", label=form)
        axes.set(xscale="log", xlabel="rows", title=title)
        if measure in ("build_s", "ms"):
            axes.set_yscale("log")
    panels[0].legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
