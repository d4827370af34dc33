"""Ten million vectors on a small machine: what building takes, what a search takes and finds, what changes cost.

    python benchmarks/ten_million.py --folder DIR [--rows 10000000] [--quick]

The vectors (synthetic.py, 512 dimensions, 10 GB) are made in the folder and stay there, to be searched again; what is
derived from them is made anew each time. Writes results/ten_million.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import claim, record

from mmsearch.index.lists import Lists
from mmsearch.index.row_store import RowStore
from mmsearch.index.segments import Segment

QUESTIONS, CALIBRATION, SEGMENT = 500, 128, 125_000
QUICK_ROWS = 250_000


class Listed(RowStore):
    """Searched by lists, however few rows there are."""

    form = "lists"


class Peak:
    """The most memory of its own that this process held meanwhile; files that are mapped are the system's to drop."""

    def __enter__(self) -> Peak:
        self.bytes, self._ended = 0, threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._ended.wait(0.2):
            lines = Path("/proc/self/status").read_text().splitlines()
            held = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.bytes = max(self.bytes, 1024 * held)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--folder", type=Path, default=Path("build/ten_million"))
    ask.add_argument("--rows", type=int, default=10_000_000)
    ask.add_argument("--quick", action="store_true")
    want = ask.parse_args()
    rows = QUICK_ROWS if want.quick else want.rows
    folder = want.folder / str(rows) if want.quick else want.folder
    if not (folder / "truth.npy").exists():
        make(folder, rows)
    figures = measure(folder, rows)
    if want.quick:
        shutil.rmtree(folder)
    print(json.dumps(figures, indent=1))
    print(record("ten_million", figures, seed=0, repeats=QUESTIONS, quick=want.quick))


def make(folder: Path, rows: int) -> None:
    """Pictures, texts that ask for some of them, and the ten best of each by looking at all."""
    from synthetic import Space

    folder.mkdir(parents=True, exist_ok=True)
    space = Space(0)
    texts = space.text_queries(QUESTIONS + CALIBRATION, rows)
    made, best_ids, best_scores = 0, np.empty((QUESTIONS, 0), np.int64), np.empty((QUESTIONS, 0), np.float32)
    for chunk in space.pictures(rows):
        for part in chunk.split(SEGMENT):
            ids = np.arange(made, made + len(part))
            Segment(ids, part.numpy()).write(folder / f"image-{made // SEGMENT + 1}.rows")
            found = (texts[:QUESTIONS] @ part.float().T).topk(10, dim=1)
            best_ids = np.concatenate([best_ids, found.indices.numpy() + made], 1)
            best_scores = np.concatenate([best_scores, found.values.numpy()], 1)
            order = np.argsort(-best_scores, 1)[:, :10]
            best_ids, best_scores = (np.take_along_axis(each, order, 1) for each in (best_ids, best_scores))
            made += len(part)
    np.save(folder / "texts.npy", texts.numpy())
    np.save(folder / "truth.npy", best_ids)


def measure(folder: Path, rows: int) -> dict[str, Any]:
    texts, truth = np.load(folder / "texts.npy"), np.load(folder / "truth.npy")
    files = sorted((path.name for path in folder.glob("image-*.rows")), key=lambda name: int(name[6:-5]))
    store = Listed.load(folder, files[: -(-rows // SEGMENT)])
    with Peak() as building:
        begun = time.perf_counter(), time.process_time()
        store.prepare(lambda: texts[QUESTIONS:])
        build_s, build_cpu_s = time.perf_counter() - begun[0], time.process_time() - begun[1]
    figures: dict[str, Any] = {
        "rows": len(store),
        "dim": store.dim,
        "build_s": round(build_s, 1),
        "build_cpu_s": round(build_cpu_s, 1),
        "build_peak_gb": round(building.bytes / 1e9, 2),
        **asked(store, texts[:QUESTIONS], truth),
        **changed(store, folder, texts[:QUESTIONS]),
    }
    return figures | {"curves": {"lists": {str(len(store)): curve(figures)}}, "claims": claims(figures)}


def curve(figures: dict[str, Any]) -> dict[str, Any]:
    """The point that this adds to the curves of `search.py growth`."""
    again = figures["again"]
    return {
        "build_s": figures["build_s"],
        "build_cpu_s": figures["build_cpu_s"],
        "bytes_a_row": 2 * figures["dim"] + 8 + round(figures["changes"]["lists_mb"] * 1e6 / figures["rows"]),
        "ms": again["median_ms"],
        "cpu_ms": again["cpu_ms"],
        "recall_at_10": again["recall_at_10"],
    }


def asked(store: RowStore, texts: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, Any]:
    """One query at a time: what it takes and what of the best ten it finds, first and when the pages are in memory."""
    assert isinstance(store._coarse, Lists)
    out: dict[str, Any] = {"lists": store._coarse._index.nlist, "found_out": str(store._coarse.found)}
    for turn in ("first", "again"):
        wall, used, hits = [], time.process_time(), 0
        for text, best in zip(texts, truth, strict=True):
            begun = time.perf_counter()
            ids = store.search(text[None], 10).ids[0]
            wall.append(time.perf_counter() - begun)
            hits += len(np.intersect1d(ids, best))
        out[turn] = {
            "queries_s": round(len(texts) / sum(wall), 1),
            "median_ms": round(1e3 * median(wall), 2),
            "cpu_ms": round(1e3 * (time.process_time() - used) / len(texts), 2),
            "recall_at_10": round(hits / truth.size, 4),
        }
    return out


def changed(store: RowStore, folder: Path, texts: NDArray[np.float32]) -> dict[str, Any]:
    """What it takes to add 64 rows and to remove 64, and to write that; nothing is trained again."""
    beside = folder / "changed"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for path in folder.glob("image-*.rows"):
        (beside / path.name).hardlink_to(path)
    lists = beside / store.save(beside, "image")[-1]
    out: dict[str, Any] = {"lists_mb": round(lists.stat().st_size / 1e6, 1)}
    last = int(store.ids()[-1])
    trained = store._coarse
    for name, change in {
        "add_64": lambda: store.add(np.arange(last + 1, last + 65), texts[:64]),
        "remove_64": lambda: store.remove(np.arange(64)),
    }.items():
        before = {path.name for path in beside.iterdir()}
        begun = time.perf_counter()
        change()
        store.prepare(lambda: texts)
        names = store.save(beside, "image")
        written = sum((beside / each).stat().st_size for each in set(names) - before)
        out[name] = {"s": round(time.perf_counter() - begun, 2), "written_mb": round(written / 1e6, 1)}
    found = store.search(texts[:64], 1).ids[:, 0]
    out["found_of_the_64_added"] = int((found == np.arange(last + 1, last + 65)).sum())
    out["trained_again"] = store._coarse is not trained
    shutil.rmtree(beside)
    return {"changes": out}


def claims(figures: dict[str, Any]) -> list[dict[str, Any]]:
    what = f"{figures['rows']} rows of {figures['dim']} dimensions"
    again = figures["again"]
    return [
        claim(12, f"memory to build {what}", ours=f"{figures['build_peak_gb']} GB", against="8 GB",
              ratio=figures["build_peak_gb"] / 8, at_most=1.0),
        claim(12, f"recall@10 of text queries, {what}", ours=f"{again['recall_at_10']}", against="the exact ten",
              ratio=again["recall_at_10"], at_least=0.9),
        claim(12, f"queries a second, one at a time, {what}", ours=f"{again['queries_s']} queries/s",
              against="100 queries/s", ratio=again["queries_s"] / 100, at_least=1.0),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
