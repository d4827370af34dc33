"""Write the marked parts of docs/model-card.md anew from results/towers.json and results/looking.json.

python benchmarks/model_card.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CARD = ROOT / "docs" / "model-card.md"
HEAD = ("query", "fit", "remark")


def main() -> None:
    text = CARD.read_text(encoding="utf-8")
    for mark, name, written in (("measured", "towers", measured), ("looked", "looking", looked)):
        begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
        result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + begin + written(result) + end + after
    CARD.write_text(text, encoding="utf-8")


def measured(result: dict[str, Any]) -> str:
    """The tables of one results file, as Markdown."""
    figures = result["figures"]
    parts = [
        f"Taken by {how(result)}, seed {result['seed']}.",
        *(f"The {part} again by {how(again)}." for part, again in result.get("amended", {}).items()),
        "",
        table("Text to image: per cent of captions [95 % interval]", retrieval(figures)),
        table("A photo's label among all labels, photos kept out of training", classes(figures)),
        table("Text to text: another caption of the same thing among all, R@10", texts(figures)),
        table("Robustness: R@10 on Flickr8k dev", [("change", "R@10"), *figures["robustness"].items()]),
        table("Speed of the towers alone", [("what", "measured"), *figures["speed"].items()]),
        table("Size", [("file", "bytes"), *figures["size_bytes"].items()]),
    ]
    return "\n".join(parts)


def looked(result: dict[str, Any]) -> str:
    """What somebody saw, query by query."""
    figures = result["figures"]
    rows = [(row["query"], row["fitting"], row["remark"]) for row in figures["judged"]]
    summary = (
        f"Of {len(rows)} queries {figures['good']} are answered well (4 or 5 of five fit), {figures['mixed']} in part "
        f"(2 or 3), {figures['failed']} badly; {100 * figures['fitting_of_all']:.1f} % of all answers fit. "
        f"Kept by {how(result)}.\n"
    )
    return "\n".join([summary, table("Free-form queries: how many of the first five fit", [HEAD, *rows])])


def how(taken: dict[str, Any]) -> str:
    """The command, the commit, the machine and the day."""
    machine = taken["machine"]
    place = f"{machine['processor']}, {machine['cores']} cores"
    return f"`{taken['command']}` at commit {taken['commit']} on {place} ({taken['taken_at'][:10]})"


def retrieval(figures: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [("photos", "queries", "R@1", "R@5", "R@10", "median rank")]
    for name in ("flickr8k", "coco"):
        part = figures[name]
        recalls = ("{} [{}, {}]".format(*part[f"recall@{k}"]) for k in (1, 5, 10))
        rows.append((f"{part['photos']} of {name} dev", part["queries"], *recalls, part["median_rank"]))
    return rows


def classes(figures: dict[str, Any]) -> list[tuple[Any, ...]]:
    sets = [name for name in ("everyday", "tiny_imagenet") if name in figures]
    keys = ("photos", "classes", "top1", "top5")
    return [("set", *keys), *((name, *(figures[name][key] for key in keys)) for name in sets)]


def texts(figures: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [("texts", "this model", "all-MiniLM-L6-v2", "share")]
    for name, part in figures["text_to_text"].items():
        rows.append((f"{part['texts']} of {name}", part["recall@10"], part.get("sentence_model"), part.get("share")))
    return rows


def table(title: str, rows: list[tuple[Any, ...]]) -> str:
    """A Markdown table, its first row the head."""
    head, *body = [[str(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return f"**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
