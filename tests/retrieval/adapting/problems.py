"""Captioned photos that a tiny model knows wrongly, or that nobody could know."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from tests.models import COLOURS

PHOTOS = 210
_NAMES = list(COLOURS)
# Words that the tiny model cannot know, each of two pieces of its vocabulary.
CALLED = dict(zip(_NAMES, ("zupo", "mika", "dovu", "lerb", "faxo", "gith", "quny"), strict=True))


def nicknamed(folder: Path, count: int = PHOTOS) -> Path:
    """Photos of one colour and a little noise, each captioned by a word of one's own; the caption file."""
    colours = [_NAMES[i % len(_NAMES)] for i in range(count)]
    return _written(folder, colours, [CALLED[colour] for colour in colours])


def arbitrary(folder: Path, count: int = PHOTOS) -> Path:
    """The same photos, captioned by words drawn by lot; the caption file."""
    rng = np.random.default_rng(0)
    colours = [str(colour) for colour in rng.choice(_NAMES, count)]
    return _written(folder, colours, [CALLED[str(colour)] for colour in rng.choice(_NAMES, count)])


def _written(folder: Path, colours: list[str], captions: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "caption"])
        for i, (colour, caption) in enumerate(zip(colours, captions, strict=True)):
            pixels = np.clip(np.array(COLOURS[colour]) + rng.integers(-20, 21, (8, 8, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:03}.png")
            table.writerow([f"{i:03}.png", f"a {caption} thing"])
            table.writerow([f"{i:03}.png", f"it is {caption}"])
    return folder / "captions.csv"
