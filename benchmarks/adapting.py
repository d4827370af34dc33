"""What `mmsearch models adapt` gains on captions of a style that the bundled towers have not seen.

    python benchmarks/adapting.py --data DIR [--seeds 3] [--model NAME]

DIR holds flickr8k/ and coco/ as for towers.py; the split `dev`, which the towers were not trained on, is learned from
and judged by as the command does it, with a fifth of the photos held out. The captions are taken as they are, as
keywords in capitals, and as German keywords (words.tsv has the German for common words; others are left out). Writes
results/adapting.json.
"""

from __future__ import annotations

import argparse
import csv
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import record
from towers import dev_set

from mmsearch.retrieval.adapting.adaptation import EPOCHS
from mmsearch.retrieval.adapting.captioned import Captioned, embed, find
from mmsearch.retrieval.adapting.judging import judge, split
from mmsearch.retrieval.adapting.learning import fit
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.training.sources import Photo

WORDS = Path(__file__).parent / "words.tsv"
LITTLE = """
a an and are as at be by for from has have he her his in into is it its of off on one other out over some that the
their them there they this to two up very while who with
"""
Style = Callable[[str], str]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--seeds", type=int, default=3)
    ask.add_argument("--model", default="bundled")
    want = ask.parse_args()
    photos = [photo for name in ("flickr8k", "coco") for photo in dev_set(want.data / name, name)]
    fingerprint = registry.load(want.model, device="cpu").card.fingerprint
    figures: dict[str, Any] = {"model": want.model, "fingerprint": fingerprint}
    for name, style in STYLES.items():
        captioned = embedded(photos, style, want.model)
        example = style(photos[0].captions[0])
        figures[name] = {"example": example, "captions": len(captioned.texts), **gains(captioned, want.seeds)}
        print(name, figures[name], flush=True)
    print(record("adapting", figures, seed=0, repeats=want.seeds))


def embedded(photos: list[Photo], style: Style, model: str) -> Captioned:
    """The photos and their captions in a style, read from a file as the command reads them."""
    with tempfile.TemporaryDirectory() as work:
        table = Path(work) / "captions.csv"
        with table.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "caption"])
            for photo in photos:
                rewritten = (style(caption) for caption in photo.captions)
                writer.writerows([photo.path.resolve(), text] for text in rewritten if text)
        encoder = registry.load(model, device="cpu")
        return embed(find(table, None, print), encoder, print, lambda step: None)


def gains(captioned: Captioned, seeds: int) -> dict[str, Any]:
    """Of each split by chance: R@10 before and after among its held-out photos, and whether there is a new model."""
    runs = []
    for seed in range(seeds):
        parts = split(captioned, seed)
        learned = fit(parts.train, parts.tuning, epochs=EPOCHS, seed=seed, say=lambda step: None)
        verdict = judge(parts.held_out, parts.held_out.adapted(learned.adapter), seed)
        figures = (verdict.before, verdict.after, verdict.difference, verdict.low, verdict.high)
        names = ("before", "after", "difference", "low", "high")
        percent = {name: round(100 * value, 1) for name, value in zip(names, figures, strict=True)}
        runs.append({"photos": verdict.photos, "epochs": learned.epochs, "switches": verdict.is_better, **percent})
    return {"runs": runs}


def words(caption: str) -> list[str]:
    """The words of a caption that say something, in order, each once."""
    little = set(LITTLE.split())
    return list(dict.fromkeys(word for word in re.findall("[a-z]+", caption.lower()) if word not in little))


def keywords(caption: str) -> str:
    return "; ".join(words(caption)).upper()


def german(caption: str) -> str:
    return "; ".join(dict.fromkeys(GERMAN[word] for word in words(caption) if word in GERMAN))


GERMAN = dict(line.split("\t") for line in WORDS.read_text(encoding="utf-8").splitlines())
STYLES: dict[str, Style] = {"sentences": str, "keywords": keywords, "german keywords": german}


if __name__ == "__main__":
    main()
