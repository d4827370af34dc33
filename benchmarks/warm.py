"""A query to a library that is open: search, candidates and fusion, without the tower.

    python benchmarks/warm.py [--photos 100000] [--queries 200] [--quick]

Makes two libraries of so many photos (large.py), the second with a caption for each, and asks both, in turns, queries
whose vectors were made before: the whole way from the vector to ten hits, the search of all views alone, and the fusion
of a short list of 100. Every query is asked once, so that nothing but its words is known of it, after a tenth that do
not count. Writes results/warm.json: medians over the queries. One thread, unless OMP_NUM_THREADS says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy reads it

import large
from record import claim, record
from timing import Times, interleaved

from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS
from mmsearch.index.reader import Reader
from mmsearch.retrieval import ranking
from mmsearch.retrieval.candidates import gather
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.fusion import calibration
from mmsearch.retrieval.fusion.heads import shipped
from mmsearch.retrieval.opening import CATALOG_NAME, VECTORS_NAME
from mmsearch.retrieval.paging import MIN_DEPTH, Page
from mmsearch.retrieval.queries import QueryVector, embed_queries
from mmsearch.retrieval.searching import search

ALLOWED_MS = 3.0
FUSED = 100


@dataclass
class Asked:
    """A library that is open, and the queries that it has not been asked yet."""

    catalog: Reader
    indexes: Indexes
    card: ModelCard
    queries: list[QueryVector]

    def whole(self) -> None:
        """From the next query's vector to ten hits."""
        search(self.catalog, self.indexes, self.card, shipped(), calibration.shipped(), [self.queries.pop()], Page())

    def views(self) -> None:
        """Only the search of its views."""
        vector = self.queries[-1].vector[None]
        for view in VIEWS:
            if self.indexes.count(view):
                self.indexes.search(view, vector, MIN_DEPTH)

    def fused(self) -> None:
        """Only the fusion of a short list that was gathered before."""
        ranking.by_fusion(self.card, shipped(), calibration.shipped(), self.queries[0], self.short_list)

    def gather(self) -> None:
        """The short list for `fused`."""
        query = self.queries[0]  # not the next one: its words would be known when it is asked
        (self.short_list,) = gather(self.catalog, self.indexes, query.vector[None], [query.words], FUSED)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--photos", type=int, default=100_000)
    ask.add_argument("--queries", type=int, default=200)
    ask.add_argument("--work", type=Path, help="a folder that keeps the libraries for the next time")
    ask.add_argument("--quick", action="store_true")
    want = ask.parse_args()
    photos, queries = (want.photos // 10, want.queries // 4) if want.quick else (want.photos, want.queries)
    with tempfile.TemporaryDirectory() as temporary:
        work = want.work or Path(temporary)
        libraries = {}
        for name in ("names", "captions"):
            folder = work / f"{name}-{photos}"
            if not folder.exists():
                large.stage(folder, photos, captioned=name == "captions")
            libraries[name] = opened(folder, queries)
        figures = measure(libraries, photos, queries)
    print(json.dumps(figures, indent=1))
    print(record("warm", figures, seed=0, repeats=queries, quick=want.quick))


def opened(folder: Path, count: int) -> Asked:
    """A library with queries for every turn, and for those that do not count."""
    encoder = registry.load(registry.BUNDLED, device="cpu")
    catalog = Reader.open(folder / CATALOG_NAME, create=False)
    indexes = Indexes(catalog, folder / VECTORS_NAME, encoder.card.dim)
    return Asked(catalog, indexes, encoder.card, embed_queries(encoder, large.queries(count + count // 10 + 1)))


def measure(libraries: dict[str, Asked], photos: int, queries: int) -> dict[str, Any]:
    """Ask every library every query, in turns."""
    things = {}
    for name, asked in libraries.items():
        things |= {f"{name}: views": asked.views, f"{name}: fused": asked.fused, f"{name}: whole": asked.whole}
    before = {f"{name}: fused": asked.gather for name, asked in libraries.items()}
    times = interleaved(things, queries, before=before, warm_up=queries // 10)
    load = [round(each, 1) for each in os.getloadavg()]
    return {"photos": photos, **times.figures(digits=2), "load_average": load, "claims": claims(times, photos)}


def claims(times: Times, photos: int) -> list[dict[str, Any]]:
    held = {"names": f"{photos:,} photos with names", "captions": f"{photos:,} photos with names and captions"}
    return [
        *(_claim(8, f"warm query without the tower, k = 10, {what}", times, f"{name}: whole", f"{name}: views")
          for name, what in held.items()),
        *(_claim(14, f"fusion of {FUSED} candidates, {what}", times, f"{name}: fused") for name, what in held.items()),
    ]  # fmt: skip


def _claim(row: int, what: str, times: Times, name: str, part: str = "") -> dict[str, Any]:
    took = times.cpu_ms(name)  # of one thread: what other programs take of the cores is no part of it
    of_it = f", of which the vectors' search {times.cpu_ms(part):.2f}" if part else ""
    said = f"{took:.2f} ms of one core{of_it} ({times.wall_ms(name):.2f} ms by the clock)"
    return claim(row, what, ours=said, against=f"{ALLOWED_MS:g} ms", ratio=took / ALLOWED_MS, at_most=1)


if __name__ == "__main__":
    main()
