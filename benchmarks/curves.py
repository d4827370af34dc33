"""Draw what the training logs say: recipes/bundled-curve.png and recipes/small-photos.png.

python benchmarks/curves.py    (needs matplotlib)
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

RECIPES = Path(__file__).parent.parent / "recipes"
SETS = {"flickr8k": "Flickr8k dev", "coco": "COCO dev"}
Rows = list[dict[str, Any]]


def main() -> None:
    training()
    if (RECIPES / "small.photos.jsonl").exists():
        photos()


def training() -> None:
    """The image stages of the bundled model: the features' error and R@10 by photos shown."""
    log = rows("bundled.log.jsonl")
    stages = tomllib.loads((RECIPES / "bundled.toml").read_text(encoding="utf-8"))["stage"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6))
    shown, seen = 0, []
    for stage in stages:
        part = [row for row in log if row["stage"] == stage["name"]]
        batch = stage["schedule"]["batch"]
        seen += [{**row, "shown": (shown + row["step"] * batch) / 1000} for row in part]
        shown += part[-1]["step"] * batch if part else 0
        for axis in (left, right):
            axis.axvline(shown / 1000, color="0.85", zorder=0)
    left.plot([row["shown"] for row in seen], [row["features"] for row in seen])
    left.set_ylabel("feature error (1 = answering zero)")
    refitted = [row for row in log if row["stage"] == "refit" and "flickr8k_r10" in row][-1:]
    measured = [row for row in seen if "flickr8k_r10" in row]
    for at, (name, label) in enumerate(SETS.items()):
        right.plot([row["shown"] for row in measured], [row[f"{name}_r10"] for row in measured], "o-", label=label)
        right.plot([shown / 1000] * len(refitted), [row[f"{name}_r10"] for row in refitted], f"C{at}*", ms=12)
    right.plot([], [], "k*", ms=12, label="after the refit")
    right.set_ylabel("text-to-image R@10, %")
    for axis in (left, right):
        axis.set_xlabel("thousand photos shown")
    kept(figure, right, "bundled-curve.png")


def photos() -> None:
    """R@10 of the small recipe by the number of photos without captions."""
    figure, axis = pyplot.subplots(figsize=(5, 3.6))
    runs = rows("small.photos.jsonl")
    for name, label in SETS.items():
        axis.plot([row["uncaptioned"] for row in runs], [row[f"{name}_r10"] for row in runs], "o", label=label)
    axis.set_xscale("log")
    axis.set_xlabel("photos without captions")
    axis.set_ylabel("text-to-image R@10, %")
    kept(figure, axis, "small-photos.png")


def rows(name: str) -> Rows:
    return [json.loads(line) for line in (RECIPES / name).read_text(encoding="utf-8").splitlines()]


def kept(figure: Any, legend: Any, name: str) -> None:
    legend.legend(frameon=False)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(RECIPES / name, dpi=90)


if __name__ == "__main__":
    main()
