"""What hubness lifts: banks of several sizes, neighbours and shares, on captions that no tower was trained on.

    python benchmarks/hubs.py --data DIR [--model NAME] [--draws 3]

DIR/SET/images holds the photos and DIR/SET/captions.csv the columns split, image, caption. Photos and captions of the
split `dev` are asked for; captions of the split `train` of all sets are what banks are drawn from, and a bank of our
own captions is compared with them. Writes results/hubs.json: R@1 and R@10 in percent, the mean over the draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from captions import dev_captions
from numpy.typing import NDArray
from record import record

from mmsearch.retrieval.decode import photos
from mmsearch.retrieval.encoders import registry, samples
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.hubs import hubness
from mmsearch.retrieval.training.bank import SETS, training_captions

SIZES = (512, 1024, 2048, 4096)
NEIGHBOURS = (4, 16, 64, 256)
SHARES = (0.25, 0.5, 0.75, 1.0)

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Task:
    """Queries (Q, D), rows (N, D), and which row each query wants (Q,)."""

    queries: Rows
    rows: Rows
    wanted: NDArray[np.int64]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--model", default=registry.BUNDLED)
    ask.add_argument("--draws", type=int, default=3)
    want = ask.parse_args()
    with closing(registry.load(want.model, device="cpu")) as encoder:
        tasks = {f"{name}_{kind}": task for name in SETS for kind, task in tasks_of(encoder, want.data / name).items()}
        captions = training_captions(want.data)
        draws = [np.random.default_rng(seed).permutation(len(captions))[: max(SIZES)] for seed in range(want.draws)]
        drawn = [encoder.texts([captions[at] for at in draw]) for draw in draws]
        own = encoder.texts(samples.CAPTIONS)
    banks = {"own": [own], **{str(size): [rows[:size] for rows in drawn] for size in SIZES}}
    figures = {name: measure(task, banks) for name, task in tasks.items()}
    print(record("hubs", {"model": want.model, "own": len(own), **figures}, seed=0, repeats=want.draws))


def tasks_of(encoder: Encoder, folder: Path) -> dict[str, Task]:
    """Captions that ask for their photo, and first captions that ask for the second of their photo."""
    captions = dev_captions(folder / "captions.csv")
    pixels = [photos.load(folder / "images" / name, encoder.card.preprocess) for name in captions]
    pictures = np.concatenate([encoder.images(np.stack(pixels[at : at + 64])) for at in range(0, len(pixels), 64)])
    texts = {name: encoder.texts(said) for name, said in captions.items()}
    owner = np.repeat(np.arange(len(captions)), [len(said) for said in captions.values()])
    first, second = (np.stack([rows[at] for rows in texts.values()]) for at in (0, 1))
    return {
        "photos": Task(np.concatenate(list(texts.values())), pictures, owner),
        "captions": Task(first, second, np.arange(len(first))),
    }


def measure(task: Task, banks: dict[str, list[Rows]]) -> dict[str, Any]:
    """Recall without a bank, and with each: {bank: {neighbours: {share: recall}}}."""
    cosine = task.queries @ task.rows.T
    figures: dict[str, Any] = {"queries": len(task.queries), "rows": len(task.rows), "plain": recall([cosine], task)}
    for name, drawn in banks.items():
        figures[name] = {}
        for neighbours in NEIGHBOURS:
            hubs = [hubness(task.rows, bank, neighbours) for bank in drawn]
            figures[name][neighbours] = {
                share: recall([cosine - share * hub for hub in hubs], task) for share in SHARES
            }
        print(name, figures[name][16][0.5], flush=True)
    return figures


def recall(scored: Sequence[Rows], task: Task) -> dict[str, float]:
    """R@1 and R@10 in percent: the mean over several scorings (Q, N)."""
    ranks = []
    for scores in scored:
        right = scores[np.arange(len(scores)), task.wanted]
        ranks.append((scores > right[:, None]).sum(axis=1))
    return {f"R@{k}": round(float(np.mean([100 * (rank < k).mean() for rank in ranks])), 2) for k in (1, 10)}


if __name__ == "__main__":
    main()
