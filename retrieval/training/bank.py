"""The bank of captions that a model brings along, by which the hubness of rows is measured.

    python -m mmsearch.retrieval.training.bank MODEL --data DIR

DIR/SET/captions.csv has the columns split and caption; captions of the split `train` of every SET are drawn by chance,
and their vectors, not their texts, are written into the model directory as bank.npy.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.model_directory import BANK
from mmsearch.retrieval.hubs import BANK_SIZE

SETS = ("flickr8k", "coco")


def training_captions(data: Path, sets: Sequence[str] = SETS) -> list[str]:
    """The captions of the split `train` of all sets, in the order of their files."""
    captions = []
    for name in sets:
        with (data / name / "captions.csv").open(newline="", encoding="utf-8") as lines:
            captions += [line["caption"] for line in csv.DictReader(lines) if line["split"] == "train"]
    return captions


def write(
    model: Path,
    captions: Sequence[str],
    texts: Callable[[list[str]], NDArray[np.float32]],
    size: int = BANK_SIZE,
    seed: int = 0,
) -> Path:
    """Write the vectors of `size` captions drawn by chance into a model directory; texts embeds them."""
    drawn = np.random.default_rng(seed).permutation(len(captions))[:size]
    path = model / BANK
    np.save(path, texts([captions[at] for at in drawn]).astype(np.float16))
    return path


def main() -> None:
    """Write the bank of a model that is already made."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("model", help="a name or a model directory")
    ask.add_argument("--data", type=Path, required=True)
    want = ask.parse_args()
    with closing(registry.load(want.model, device="cpu")) as encoder:
        print(write(registry.find(want.model), training_captions(want.data), encoder.texts))


if __name__ == "__main__":
    main()
