"""Text-to-image retrieval through the whole product: index the photos, ask every caption.

    python benchmarks/retrieval.py --data DIR [--sets flickr8k coco] [--model NAME]

DIR/SET/images holds the photos and DIR/SET/captions.csv the columns split, image, caption; only the split
`dev` is used. Writes results/retrieval.json: R@1/5/10 with 95 % bootstrap intervals by image, the median
rank, and items/s of indexing.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from captions import dev_captions
from numpy.typing import NDArray
from record import record

from mmsearch import Library

DEPTHS = (1, 5, 10)
NOT_FOUND = 10**9


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--sets", nargs="+", default=["flickr8k", "coco"])
    ask.add_argument("--model", default="bundled")
    ask.add_argument("--seed", type=int, default=0)
    want = ask.parse_args()
    figures = {name: measure(want.data / name, want.model, want.seed) for name in want.sets}
    print(record("retrieval", {"model": want.model, **figures}, seed=want.seed))


def measure(folder: Path, model: str, seed: int) -> dict[str, Any]:
    """Index the dev photos of one set, ask all their captions, and say where the right photo came."""
    captions = dev_captions(folder / "captions.csv")
    with tempfile.TemporaryDirectory() as work:
        photos = Path(work) / "photos"
        photos.mkdir()
        for name in captions:
            (photos / name).symlink_to((folder / "images" / name).resolve())
        with Library.open(Path(work) / "library", model=model) as library:
            report = library.index([photos])
            ranks = ranks_of(library, captions)
    figures = {
        "photos": len(captions),
        "queries": int(ranks.size),
        "items_per_second": round(report.items_per_second, 1),
        "median_rank": float(np.median(ranks)),
        **{f"recall@{k}": recall(ranks, k, seed) for k in DEPTHS},
    }
    print(folder.name, figures)
    return figures


def ranks_of(library: Library, captions: dict[str, list[str]]) -> NDArray[np.int64]:
    """(I, C) rank of the right photo for each caption of each photo; NaN-padded rows are cut to the shortest."""
    per_photo = min(map(len, captions.values()))
    queries = [f'"{_plain(text)}"' for texts in captions.values() for text in texts[:per_photo]]
    wanted = [name for name in captions for _ in range(per_photo)]
    ranks = []
    for start in range(0, len(queries), 500):
        for name, hits in zip(
            wanted[start : start + 500], library.query_many(queries[start : start + 500], k=100), strict=True
        ):
            places = [hit.rank for hit in hits if Path(hit.path).name == name]
            ranks.append(places[0] if places else NOT_FOUND)
    return np.array(ranks).reshape(len(captions), per_photo)


def _plain(text: str) -> str:
    """A caption as one quoted term: it asks for words, not for a sum."""
    return text.replace('"', "'")


def recall(ranks: NDArray[np.int64], k: int, seed: int, resamples: int = 2000) -> dict[str, float]:
    """The share of queries whose photo is among the first k, in percent, with its interval by image."""
    found = (ranks <= k).mean(axis=1) * 100
    draws = np.random.default_rng(seed).integers(0, len(found), (resamples, len(found)))
    low, high = np.percentile(found[draws].mean(axis=1), [2.5, 97.5])
    return {
        "percent": round(float(found.mean()), 2),
        "low": round(float(low), 2),
        "high": round(float(high), 2),
    }


if __name__ == "__main__":
    main()
