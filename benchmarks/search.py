"""Searches of vectors: exact ones against FAISS's flat index, coarse ones beside HNSW, ScaNN and usearch.

    python benchmarks/search.py exact|lists|growth [--folder DIR] [--rows N] [--quick]

    exact   all rows at once: our search against IndexFlatIP, and against FAISS's own IndexRefine over the same codes
    lists   inverted lists against IndexFlatIP and the peers, each at a recall@10 of .95 or more
    growth  from a thousand rows on: what building takes, how large it is, how quick, what it finds

The vectors are those of synthetic.py, made once in the folder. Peers are looked for among what can be imported: run it
with the interpreter of `peers.python("vectors")`. Writes results/search_NAME.json, or
search_NAME_N.json for another N than a million.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import claim, record
from timing import Times, interleaved

from mmsearch.index.codes import CodedPart, Codes, threads
from mmsearch.index.faiss_module import faiss
from mmsearch.index.lists import Lists, first_count
from mmsearch.index.row_store import RowStore
from mmsearch.index.scan import products, widen

ROWS = 1_000_000
ASKED, CALIBRATION, REPEATS = 200, 128, 15
CHUNK = 50_000

Rows = NDArray[np.float16]
Texts = NDArray[np.float32]


class Coded(RowStore):
    """Searched by codes, from the first query on."""

    form = "codes"


class Listed(RowStore):
    """Searched by lists, however few rows there are."""

    form = "lists"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("what", choices=["exact", "lists", "growth"])
    ask.add_argument("--folder", type=Path, default=Path("build/search"))
    ask.add_argument("--rows", type=int, default=ROWS)
    ask.add_argument("--peers", nargs="*", help="of lists; all that can be imported, if left out")
    ask.add_argument("--quick", action="store_true")
    want = ask.parse_args()
    most = 50_000 if want.quick else want.rows
    rows, texts = vectors(want.folder / f"{most}", most)
    forms = {"exact": exact, "lists": lambda *made: lists(*made, want.peers), "growth": growth}
    figures = forms[want.what](rows, texts)
    print(json.dumps(figures, indent=1))
    name = f"search_{want.what}" if want.rows == ROWS else f"search_{want.what}_{want.rows}"
    print(record(name, figures, seed=0, repeats=REPEATS, quick=want.quick))


def vectors(folder: Path, rows: int) -> tuple[Rows, Texts]:
    """Pictures (N, 512), mapped from a file of the folder, and texts that ask for some of them."""
    if not (folder / "texts.npy").exists():
        from synthetic import DIM, Space

        folder.mkdir(parents=True, exist_ok=True)
        space, start = Space(0), 0
        made = np.lib.format.open_memmap(folder / "pictures.npy", "w+", np.float16, (rows, DIM))
        for part in space.pictures(rows):
            made[start : start + len(part)] = part.numpy()
            start += len(part)
        np.save(folder / "texts.npy", space.text_queries(ASKED + CALIBRATION, rows).numpy())
    return np.load(folder / "pictures.npy", mmap_mode="r"), np.load(folder / "texts.npy")


def chunks(rows: Rows) -> Iterator[tuple[int, Rows]]:
    return ((start, rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK))


def best_ten(rows: Rows, texts: Texts) -> NDArray[np.int64]:
    """The ten best rows of each text, by looking at all."""
    ids, scores = np.empty((len(texts), 0), np.int64), np.empty((len(texts), 0), np.float32)
    for start, part in chunks(rows):
        found = products(texts, np.asarray(part))
        near = np.argpartition(-found, 9, axis=1)[:, :10]
        ids = np.concatenate([ids, near + start], 1)
        scores = np.concatenate([scores, np.take_along_axis(found, near, 1)], 1)
    return np.take_along_axis(ids, np.argsort(-scores, 1)[:, :10], 1)


def filled(kind: type[RowStore], rows: Rows) -> RowStore:
    store = kind(rows.shape[1])
    for start, part in chunks(rows):
        store.add(np.arange(start, start + len(part)), part)
    return store


def flat(rows: Rows) -> Any:
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1])
    for _, part in chunks(rows):
        index.add(widen(np.asarray(part)))
    return index


class Turns:
    """The texts, one or some at a time, each time others."""

    def __init__(self, texts: Texts, count: int = 1) -> None:
        self._texts, self._count, self._at = texts, count, 0

    def __call__(self) -> Texts:
        self._at = (self._at + self._count) % max(1, len(self._texts) - self._count)
        return self._texts[self._at : self._at + self._count]


def recall(find: Callable[[Texts], NDArray[Any]], texts: Texts, truth: NDArray[np.int64]) -> float:
    hits = sum(len(np.intersect1d(find(text[None])[0], best)) for text, best in zip(texts, truth, strict=True))
    return round(hits / truth.size, 4)


def timed_alike(finders: dict[str, Callable[[Texts], Any]], texts: Texts, count: int = 1) -> Times:
    """Each finder with count texts in turns, the same texts for all."""
    turns = {name: Turns(texts, count) for name in finders}
    return interleaved({name: lambda n=name: finders[n](turns[n]()) for name in finders}, REPEATS)  # type: ignore[misc]


def exact(rows: Rows, texts: Texts) -> dict[str, Any]:
    figures: dict[str, Any] = {"dim": rows.shape[1], "threads": threads()}
    claims = []
    for size in sorted({min(100_000, len(rows)), len(rows)}):
        part = rows[:size]
        store, index = filled(Coded, part), flat(part)
        store.search(texts[:1], 10)
        coarse = store._coarse
        assert isinstance(coarse, Codes)
        refined = refine(coarse, part)
        finders = {
            "flat": lambda asked, index=index: index.search(asked, 10)[1],
            "bare": lambda asked, refined=refined: refined.search(asked, 10)[1],
            "ours": lambda asked, store=store: store.search(asked, 10).ids,
        }
        one = timed_alike(finders, texts)
        batches = {name: finders[name] for name in ("bare", "ours")}
        many = timed_alike(batches, np.tile(texts, (3, 1)), 256)
        found = recall(finders["ours"], texts[:ASKED], best_ten(part, texts[:ASKED]))
        wide = narrowed(part)
        wide.search(texts[:1, :256], 10)
        k200 = timed_alike({"k200": lambda asked, wide=wide: wide.search(asked[:, :256], 200)}, texts)
        figures[str(size)] = {
            "one_query": one.figures(3),
            "batch_of_256": many.figures(1),
            "recall_at_10": found,
            "256_dimensions_k_200": k200.figures(3),
        }
        claims += exact_claims(size, one, many, found)
        store.close()
    return figures | {"claims": claims}


def narrowed(rows: Rows) -> RowStore:
    """The same rows at the bundled model's 256 dimensions: what they mean is lost, what they cost is not."""
    store = Coded(256)
    for start, part in chunks(rows):
        cut = widen(np.ascontiguousarray(part[:, :256]))
        store.add(np.arange(start, start + len(part)), cut / np.linalg.norm(cut, axis=1, keepdims=True))
    return store


def refine(coarse: Codes, rows: Rows) -> Any:
    """FAISS's own two steps over the same codes and rows: 104 named for ten answers, and scored anew."""
    import faiss

    whole = CodedPart(coarse._steps, float("inf"), [(np.arange(len(rows)), rows)])
    scored = faiss.IndexScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for _, part in chunks(rows):
        scored.add(widen(np.asarray(part)))
    both = faiss.IndexRefine(whole._index, scored)
    both.k_factor = first_count(10) / 10
    both.referenced_objects = [whole, scored]
    return both


def exact_claims(size: int, one: Times, many: Times, found: float) -> list[dict[str, Any]]:
    rows = f"{size} rows of 512 dimensions"
    ours_ms, bare_ms = one.wall_ms("ours"), one.wall_ms("bare")
    return [
        claim(9, f"ms beyond FAISS's IndexRefine on the same codes, one query, {rows}", ours=f"{ours_ms:.2f} ms",
              against=f"{bare_ms:.2f} ms", ratio=ours_ms - bare_ms, at_most=0.3),
        claim(9, f"over FAISS's IndexRefine on the same codes, a batch of 256, {rows}",
              ours=f"{many.wall_ms('ours'):.0f} ms", against=f"{many.wall_ms('bare'):.0f} ms",
              ratio=many.ratio("ours", "bare"), at_most=1.05),
        claim(10, f"exact top 10, one text query, {rows}, {threads()} threads", ours=f"{ours_ms:.2f} ms",
              against=f"FAISS FlatIP {one.wall_ms('flat'):.2f} ms", ratio=one.ratio("flat", "ours"), at_least=3.0),
        claim(10, f"recall@10 of it, {rows}", ours=f"{found}", against="the exact ten", ratio=found, at_least=0.9995),
    ]  # fmt: skip


def lists(rows: Rows, texts: Texts, wanted: Sequence[str] | None) -> dict[str, Any]:
    import search_peers as peers

    asked, truth = texts[:ASKED], best_ten(rows, texts[:ASKED])
    built: dict[str, Any] = {}
    finders: dict[str, Callable[[Texts], Any]] = {}
    store = filled(Listed, rows)
    with tempfile.TemporaryDirectory() as folder:
        names = store.save(Path(folder), "image")
        store = Listed.load(Path(folder), names)  # the rows are the system's to hold, as in a library
        before = anonymous_bytes()
        built["ours"] = peers.timed_build(lambda: store.prepare(lambda: texts[ASKED:]))
        built["ours"]["held_by_builder_bytes_a_row"] = round((anonymous_bytes() - before) / len(rows))
        held = in_new_process(opened_bytes, folder, store.save(Path(folder), "image"), texts)
        built["ours"]["held_bytes_a_row"] = round(held / len(rows))
        finders["ours"] = lambda asked: store.search(asked, 10).ids
        reached = {"ours": {"recall_at_10": recall(finders["ours"], asked, truth), "setting": store.plan()}}
        index = flat(rows)
        finders["flat"] = lambda asked: index.search(asked, 10)[1]
        for name, peer in peers.available(wanted).items():
            print("building", name, flush=True)
            built[name] = peers.timed_build(lambda peer=peer: peer.build(rows))
            for setting in peer.settings:
                peer.set(setting)
                finders[name] = peer.find
                reached[name] = {"recall_at_10": recall(peer.find, asked, truth), "setting": setting}
                if reached[name]["recall_at_10"] >= 0.95:
                    break
        one = timed_alike(finders, texts)
    bytes_a_row = built["ours"]["held_bytes_a_row"] + 2 * rows.shape[1] + 8
    figures = {"rows": len(rows), "dim": rows.shape[1], "built": built, "reached": reached, "one_query": one.figures(3)}
    return figures | {"bytes_a_row": bytes_a_row, "claims": lists_claims(len(rows), built, reached, one, bytes_a_row)}


def lists_claims(
    size: int, built: dict[str, Any], reached: dict[str, Any], one: Times, bytes_a_row: int
) -> list[dict[str, Any]]:
    rows = f"{size} rows of 512 dimensions"
    ours = f"{one.wall_ms('ours'):.2f} ms at {reached['ours']['recall_at_10']}"
    out = [
        claim(11, f"recall@10 of text queries, {rows}", ours=f"{reached['ours']['recall_at_10']}",
              against="the exact ten", ratio=reached["ours"]["recall_at_10"], at_least=0.95),
        claim(11, f"one text query, {rows}", ours=ours, against=f"FAISS FlatIP {one.wall_ms('flat'):.2f} ms",
              ratio=one.ratio("flat", "ours"), at_least=30.0),
        claim(11, f"bytes a row, opened and searched, {rows}, mapped rows included", ours=f"{bytes_a_row} bytes",
              against="1,200 bytes", ratio=bytes_a_row / 1200, at_most=1.0),
    ]  # fmt: skip
    for name in set(built) - {"ours"}:
        theirs = f"{name} {one.wall_ms(name):.2f} ms at {reached[name]['recall_at_10']}"
        ratio = one.ratio(name, "ours")
        out.append(claim(11, f"one text query, {rows}", ours=ours, against=theirs, ratio=ratio, at_least=1.0))
        if name == "hnswlib":
            built_s = f"{built['ours']['cpu_s']} s", f"hnswlib M16 {built[name]['cpu_s']} s"
            ratio = built["ours"]["cpu_s"] / built[name]["cpu_s"]
            what = f"processor time to build, {rows}"
            out.append(claim(11, what, ours=built_s[0], against=built_s[1], ratio=ratio, at_most=0.35))
    return out


def in_new_process(call: Callable[..., int], *arguments: object) -> int:
    """What a function of this file gives in a process that has done nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def opened_bytes(folder: str, names: Sequence[str], texts: Texts) -> int:
    """What a process holds of a saved store beyond its mapped files, once it has searched it."""
    faiss()
    before = anonymous_bytes()
    store = Listed.load(Path(folder), names)
    for text in texts[:ASKED]:
        store.search(text[None], 10)
    return anonymous_bytes() - before


def anonymous_bytes() -> int:
    """What this process holds that is no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def growth(rows: Rows, texts: Texts) -> dict[str, Any]:
    """Each form at each size up to all rows: build time, bytes a row, latency, recall."""
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= len(rows)]
    curves: dict[str, Any] = {"scan": {}, "codes": {}, "lists": {}}
    for size in sizes:
        part, asked = rows[:size], texts[:ASKED]
        truth = best_ten(part, asked)
        for form, kind in {"scan": RowStore, "codes": Coded, "lists": Listed}.items():
            if form == "lists" and size < 10_000:
                continue
            store = filled(kind, part)
            begun = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.perf_counter()
            if form == "codes":
                store._make_codes()
            elif form == "lists":
                store.prepare(lambda: texts[ASKED:])
            else:
                store._scanned_values = -(10**18)  # never made into codes
            wall, cpu = time.perf_counter() - begun[1], resource.getrusage(resource.RUSAGE_SELF).ru_utime - begun[0]
            times = timed_alike({"one": lambda asked, store=store: store.search(asked, 10)}, texts)
            coarse = store._coarse
            held = {"scan": 0, "codes": store.dim // 2 + 16, "lists": store.dim // 4 + 8}[form]
            curves[form][str(size)] = {
                "build_s": round(wall, 3),
                "build_cpu_s": round(cpu, 3),
                "bytes_a_row": 2 * store.dim + 8 + held,
                "ms": round(times.wall_ms("one"), 3),
                "cpu_ms": round(times.cpu_ms("one"), 3),
                "recall_at_10": recall(lambda asked, store=store: store.search(asked, 10).ids, asked, truth),
                **({"found_out": str(coarse.found)} if isinstance(coarse, Lists) else {}),
            }
            store.close()
    return {"dim": rows.shape[1], "curves": curves, "claims": []}


if __name__ == "__main__":
    main()
