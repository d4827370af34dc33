"""Searches of vectors on a device: exact ones over the rate at which it reads, coarse ones with their recall."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from card import Run, attempt
from numpy.typing import NDArray
from synthetic import DIM, Space

from mmsearch.index import device_store, faiss_gpu
from mmsearch.index.faiss_gpu import FaissScan
from mmsearch.index.torch_exact import TorchScan


def search(run: Run) -> dict[str, Any]:
    """Exact scans over the rate at which the card's memory goes."""
    exact = {}
    for rows in run.sizes.rows:
        exact[str(rows)] = attempt(lambda rows=rows: exact_scans(run, rows))
        run.empty()
    return {"dim": DIM, "faiss": faiss_state(run), "exact": exact}


def by_lists(run: Run) -> dict[str, Any]:
    """IVF-PQ at the largest size."""
    return coarse_scan(run, run.sizes.coarse_rows, "ivfpq")


def by_graph(run: Run) -> dict[str, Any]:
    """CAGRA at the largest size."""
    return coarse_scan(run, run.sizes.coarse_rows, "cagra")


def faiss_state(run: Run) -> str:
    if not run.on_gpu:
        return "not tried without a GPU"
    return faiss_gpu.fault(number(run)) or "found 64 of 64 vectors as NumPy does"


def number(run: Run) -> int:
    return int(run.device.partition(":")[2] or 0)


def forms(run: Run) -> tuple[Any, ...]:
    if not run.on_gpu or faiss_gpu.fault(number(run)):
        return ()
    import faiss

    return faiss_gpu.forms(faiss)


def exact_scans(run: Run, rows: int) -> dict[str, Any]:
    """torch's scan, and FAISS's with the recall of its float16 queries beside it."""
    out: dict[str, Any] = {}
    space = Space(run.seed, run.device)
    queries = space.text_queries(64, rows).cpu().numpy()
    with torch_scan(run, space, rows) as scan:
        out["torch"] = scan_speed(run, lambda asked: scan.nearest(asked, 10, None), queries, rows)
        truth = scan.nearest(queries, 10, None).ids
    if "flat" in forms(run):
        held = faiss_scan(run, space, rows, "flat")
        out["faiss_flat"] = scan_speed(run, lambda asked: held.nearest(asked, 10, None), queries, rows)
        found = held.nearest(queries, 42, None)
        assert found is not None
        out["faiss_flat"]["recall_at_10"] = recall(found.ids, truth)
        held.close()
    engine = "faiss_flat" if "faiss_flat" in out else "torch"
    told = {count: each for count, each in out[engine].items() if count.startswith("queries")}
    how = max(told, key=lambda count: told[count]["share_of_ceiling"])
    best = told[how]
    out["best"] = {
        "how": f"{best['read_gb_s']} GB/s ({engine}, {how.removeprefix('queries_')} queries at once)",
        "share": best["share_of_ceiling"],
    }
    return out


@contextmanager
def torch_scan(run: Run, space: Space, rows: int) -> Iterator[TorchScan]:
    scan = TorchScan(DIM, run.device)
    for start, part in enumerate(space.pictures(rows)):
        scan.add(np.arange(start * space.chunk, start * space.chunk + len(part)), part.cpu().numpy())
    try:
        yield scan
    finally:
        scan.close()
        run.empty()


def faiss_scan(run: Run, space: Space, rows: int, form: Any) -> FaissScan:
    import faiss

    def chunks() -> Iterator[NDArray[np.float32]]:
        return (part.float().cpu().numpy() for part in space.pictures(rows))

    return FaissScan(np.arange(rows), faiss_gpu.build(faiss, form, number(run), DIM, rows, chunks), form)


def scan_speed(run: Run, find: Callable[[NDArray[np.float32]], object], queries: Any, rows: int) -> dict[str, Any]:
    """Milliseconds for one query and for 64, and the share of the read ceiling at which the vectors went by."""
    out: dict[str, Any] = {}
    for count in (1, 64):
        seconds = run.seconds(lambda count=count: find(queries[:count]))
        read_gb_s = rows * DIM * 2 / seconds / 1e9
        out[f"queries_{count}"] = {
            "ms": round(1000 * seconds, 3),
            "read_gb_s": round(read_gb_s, 1),
            "share_of_ceiling": round(read_gb_s / run.ceilings["memory_gb_s"], 3),
        }
    return out


def coarse_scan(run: Run, rows: int, form: Any) -> dict[str, Any]:
    """One coarse form: time to build, queries a second, recall of the ten that exact scores put first."""
    out: dict[str, Any] = {"rows": rows, "would_choose": device_store.choose(rows, DIM, free(run), forms(run))}
    space = Space(run.seed, run.device)
    asked = {
        "text": space.text_queries(run.sizes.queries, rows).cpu().numpy(),
        "picture": space.picture_queries(run.sizes.queries, rows).cpu().numpy(),
    }
    best = torch.cat([part.cpu() for part in space.pictures(min(rows, 100_000))]).float() @ asked["text"].T
    out["mean_best_text_cosine"] = round(float(best.max(dim=0).values.mean()), 3)
    if form not in forms(run):
        return {**out, "missing": faiss_state(run)}
    with torch_scan(run, space, rows) as scan:
        truth = {kind: scan.nearest(queries, 10, None).ids for kind, queries in asked.items()}
    begun = time.perf_counter()
    held = faiss_scan(run, space, rows, form)
    out["build_s"] = round(time.perf_counter() - begun, 1)
    for kind, queries in asked.items():
        seconds = run.seconds(lambda queries=queries: held.nearest(queries, 42, None))
        found = held.nearest(queries, 42, None)
        assert found is not None
        out[kind] = {
            "queries_s": round(len(queries) / seconds, 1),
            "recall_at_10": recall(found.ids, truth[kind]),
        }
    held.close()
    return out


def free(run: Run) -> int:
    return device_store.free_bytes(run.device)


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """The share of the true ten that are among those found, which exact scores then sort."""
    hits = [len(set(row.tolist()) & set(best.tolist())) for row, best in zip(found, truth, strict=True)]
    return round(sum(hits) / truth.size, 4)
