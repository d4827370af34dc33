"""Indexing 96 photos of 12 megapixels with the same ViT-B-32-256 towers: rclip, open_clip in torch, and ours.

    python benchmarks/indexing.py --photos DIR --work DIR [--count 96] [--repeats 5] [--quick]

Makes camera-like photos of those in DIR (camera.py) and towers with random weights (clip_towers.py), which it keeps in
the folder --work. Every turn is a whole process on an empty library: `mmsearch index` with towers in eight bits, which
is what `mmsearch models add` makes of them, and in full precision; rclip's own indexing, without the query that its
command goes on to; and a loop of open_clip (open_clip_loop.py). Our vectors are compared with those of the loop: full
precision of fully decoded photos. Random towers give all photos nearly the same vector, so the cosine is also given
after their mean is taken off. Writes results/indexing.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import camera
import numpy as np
import peers
from numpy.typing import NDArray
from record import claim, record
from timing import Times, interleaved, quietly

from mmsearch.index.catalog import Catalog

HERE = Path(__file__).parent
RCLIP = "import sys; from rclip.main import init_rclip; init_rclip(sys.argv[1], 8)"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--photos", type=Path, required=True)
    ask.add_argument("--work", type=Path, required=True)
    ask.add_argument("--count", type=int, default=96)
    ask.add_argument("--repeats", type=int, default=5)
    ask.add_argument("--quick", action="store_true")
    want = ask.parse_args()
    count, repeats = (12, 1) if want.quick else (want.count, want.repeats)
    folder = want.work / f"photos-{count}"
    camera.photos(want.photos, folder, count)
    quietly([peers.python("open_clip"), HERE / "clip_towers.py", want.work])
    figures = measure(folder, want.work, count, repeats)
    print(json.dumps(figures, indent=1))
    print(record("indexing", figures, repeats=repeats, quick=want.quick))


def measure(folder: Path, work: Path, count: int, repeats: int) -> dict[str, Any]:
    """The times of all four, what is claimed of them, and how near our vectors are to those of the loop."""
    library, database, vectors = work / "library", work / "rclip" / "db.sqlite3", work / "loop.npy"
    loop_s: list[float] = []

    def loop() -> None:
        script = [peers.python("open_clip"), HERE / "open_clip_loop.py", work / "checkpoint.pt", folder, vectors]
        loop_s.append(float(quietly(script)))

    def ours(precision: str) -> Callable[[], str]:
        index = [sys.executable, "-m", "mmsearch", "index", folder, "--model", work / "models" / precision]
        return partial(quietly, [*index, "--library", library])

    rclip = partial(quietly, [peers.python("rclip"), "-c", RCLIP, folder], RCLIP_DATADIR=str(work / "rclip"))
    times = interleaved(
        {"int8": ours("int8"), "fp32": ours("fp32"), "rclip": rclip, "open_clip": loop},
        repeats,
        before={
            **dict.fromkeys(("int8", "fp32"), partial(shutil.rmtree, library, ignore_errors=True)),
            "rclip": partial(database.unlink, missing_ok=True),
        },
        warm_up=0,
    )
    cosines = {}
    for precision in ("int8", "fp32"):
        shutil.rmtree(library)
        ours(precision)()
        cosines[precision] = least_cosines(stored(library, folder), np.load(vectors))
    return {
        "photos": count,
        "mean_mb": round(sum(path.stat().st_size for path in folder.iterdir()) / count / 1e6, 2),
        "versions": peers.versions("rclip") | peers.versions("open_clip"),
        **times.figures(digits=0),
        "open_clip_without_loading_s": sorted(loop_s)[len(loop_s) // 2],
        "towers": json.loads((work / "models" / "int8" / "model.json").read_text())["metrics"],
        "least_cosine": cosines,
        "processor": _flags(),
        "claims": claims(times, cosines["int8"]["plain"]),
    }


def claims(times: Times, cosine: float) -> list[dict[str, Any]]:
    """What is said of the speed, by whole processes."""
    seconds = {name: f"{times.wall_ms(name) / 1e3:.1f} s" for name in times.wall_s}

    def faster(row: int, ours: str, theirs: str, at_least: float) -> dict[str, Any]:
        return claim(
            row, f"index 12 MP photos, same towers, {ours}",
            ours=seconds[ours], against=f"{theirs} {seconds[theirs]}",
            ratio=times.ratio(theirs, ours), at_least=at_least,
        )  # fmt: skip

    said = claim(1, "least cosine, int8", ours="draft, int8", against="full, fp32", ratio=cosine, at_least=0.999)
    return [faster(1, "int8", "rclip", 3.3), faster(1, "fp32", "rclip", 2), said, faster(2, "int8", "open_clip", 4.5)]


def stored(library: Path, folder: Path) -> NDArray[np.float32]:
    """The vectors (N, D) of a library's photos, in the order of their names."""
    catalog = Catalog.open(library / "catalog.sqlite", create=False)
    ids, vectors = catalog.rows_after("image", 0, 1_000_000)
    described = catalog.describe(ids.tolist())
    names = [described[id_].item.path.name for id_ in ids.tolist()]
    catalog.close()
    rows: NDArray[np.float32] = vectors.astype(np.float32)[np.argsort(names)]
    return rows


def least_cosines(ours: NDArray[np.float32], exact: NDArray[np.float32]) -> dict[str, float]:
    """The least cosine of a photo's two vectors, plain and after the mean of all photos is taken off."""
    mean = exact.mean(axis=0)
    pairs = {"plain": (ours, exact), "centred": (ours - mean, exact - mean)}
    return {name: round(float(_cosine(*pair).min()), 5) for name, pair in pairs.items()}


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    return found


def _flags() -> list[str]:
    """Which of the instructions that products in bytes gain from the processor has."""
    done = subprocess.run(["grep", "-m1", "^flags", "/proc/cpuinfo"], capture_output=True, text=True, check=False)
    return sorted({"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"} & set(done.stdout.split()))


if __name__ == "__main__":
    main()
