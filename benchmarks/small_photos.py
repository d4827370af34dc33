"""Indexing 10,000 small photos with the bundled model: how well reading, towers and database overlap.

    python benchmarks/small_photos.py --photos DIR [--count 10000] [--repeats 5] [--quick]

Makes so many JPEGs of 500 x 375 of those in DIR, each a crop of its own. Times in turns, on all cores: reading alone
(the digest, decoding, metadata), as the run's own threads do it; the image tower alone; and the whole `Library.index`
into an empty library. What each takes of the processor is stated beside it: where reading and towers want the same
cores, no overlap can be faster than the sum of the two. Writes results/small_photos.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from record import claim, record
from timing import interleaved

from mmsearch import Library
from mmsearch.index.items import Root
from mmsearch.retrieval import files
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.feeding import LocalFeed
from mmsearch.retrieval.indexing import DEFAULT_BATCH_SIZE
from mmsearch.retrieval.types import File

SIZE = (500, 375)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--photos", type=Path, required=True)
    ask.add_argument("--count", type=int, default=10_000)
    ask.add_argument("--repeats", type=int, default=5)
    ask.add_argument("--quick", action="store_true")
    want = ask.parse_args()
    count, repeats = (1000, 3) if want.quick else (want.count, want.repeats)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "photos"
        crops(want.photos, folder, count)
        figures = measure(folder, Path(work) / "library", repeats)
    print(json.dumps(figures, indent=1))
    print(record("small_photos", figures, seed=0, repeats=repeats, quick=want.quick))


def crops(source: Path, folder: Path, count: int) -> None:
    """So many JPEGs, each a random part of a photo, in rolls of a thousand."""
    draw = np.random.default_rng(0)
    sources = sorted(source.rglob("*.jpg"))
    for at in range(count):
        with Image.open(sources[at % len(sources)]) as photo:
            keep = draw.uniform(0.5, 0.9)
            box = [round(keep * side) for side in photo.size]
            left, top = (int(draw.integers(0, side - part + 1)) for side, part in zip(photo.size, box, strict=True))
            part = photo.convert("RGB").crop((left, top, left + box[0], top + box[1]))
        roll = folder / f"roll-{at // 1000}"
        roll.mkdir(parents=True, exist_ok=True)
        ImageOps.fit(part, SIZE).save(roll / f"IMG_{at:05}.jpg", quality=85)


def measure(folder: Path, library: Path, repeats: int) -> dict[str, Any]:
    """Photos a second of each part alone and of the whole."""
    found = [each for each in files.walk(Root(1, folder), folder) if isinstance(each, File)]
    encoder = registry.load(registry.BUNDLED, device="cpu")
    feed = LocalFeed(encoder.card.preprocess, encoder.spans, 100)
    pixels = np.stack(list(_read(feed, found[:DEFAULT_BATCH_SIZE])))
    times = interleaved(
        {
            "reading": lambda: sum(1 for _ in _read(feed, found)),
            "towers": lambda: _towers(encoder, pixels, len(found)),
            "index": partial(_index, library, folder),
        },
        repeats,
        before={"index": partial(shutil.rmtree, library, ignore_errors=True)},
        warm_up=0,
    )
    rate = {name: round(len(found) / times.wall_ms(name) * 1e3, 1) for name in times.wall_s}
    slower = min(("reading", "towers"), key=rate.__getitem__)
    cores = len(os.sched_getaffinity(0))
    together_ms = (times.cpu_ms("reading") + times.cpu_ms("towers")) / cores
    bound = len(found) / together_ms * 1e3
    return {
        "photos": len(found),
        "photos_per_s": rate,
        **times.figures(digits=0),
        "bound_by_processor_photos_per_s": round(bound, 1),
        "index_over_that_bound": round(rate["index"] / bound, 3),
        "cpu_beside_reading_and_towers": round(
            times.cpu_ms("index") / (times.cpu_ms("reading") + times.cpu_ms("towers")) - 1, 3
        ),
        "claims": [
            claim(
                4, f"{len(found):,} photos of 500 x 375, bundled model",
                ours=f"{rate['index']:,.0f} photos/s",
                against=f"{slower} alone {rate[slower]:,.0f} photos/s ({cores} cores for both: {bound:,.0f})",
                ratio=times.ratio(slower, "index"), at_least=0.85,
            )
        ],
    }  # fmt: skip


def _read(feed: LocalFeed, found: list[File]) -> Iterator[NDArray[np.uint8]]:
    """The pixels of files, read on as many threads as there are cores."""

    def one(file: File) -> NDArray[np.uint8]:
        files.digest(file.path)
        pixels = feed.decode(file, (), True).pixels
        if pixels is None:
            raise ValueError(f"{file.path} is no photo")
        return pixels

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(one, found)


def _towers(encoder: Encoder, pixels: NDArray[np.uint8], count: int) -> None:
    for _ in range(0, count, len(pixels)):
        encoder.images(pixels)


def _index(library: Path, folder: Path) -> None:
    with Library.open(library, model=registry.BUNDLED) as opened:
        opened.index([folder])


if __name__ == "__main__":
    main()
