"""What a person waits for: the installed size, and a query in a new process, against rclip's.

    python benchmarks/cold.py --photos DIR [--repeats 15] [--quick]

Installs the project into a fresh environment (--quick takes the one at hand), indexes a thousand of the photos with the
bundled model, makes a library of 100,000 photos (large.py) and fills rclip's database with as many rows as each of
them (what these say does not matter to its speed; its own run would take hours). Then runs `mmsearch query` and
`rclip -n` in turns, each in a new process, and beside them what nobody can do without: the imports alone. rclip and the
towers of its size with random weights come from peers.py and clip_towers.py. Writes results/cold.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import large
import numpy as np
import peers
from record import claim, record
from timing import Times, interleaved, quietly

PROJECT = Path(__file__).resolve().parents[1]
CLIP = PROJECT / "build" / "clip"
SMALL, LARGE = 1000, 100_000
QUERY = "a dog on a beach"
FLOOR = "import numpy, onnxruntime, tokenizers"
UNWANTED = ("torch", "open_clip", "pandas", "scipy", "sqlalchemy", "faiss")
LOADED = "import sys; from mmsearch.cli.app import run; run(sys.argv[2:]); print(sys.argv[1], *sys.modules)"
PEAK = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--photos", type=Path, required=True)
    ask.add_argument("--repeats", type=int, default=15)
    ask.add_argument("--work", type=Path, help="a folder that keeps what was made for the next time")
    ask.add_argument("--prepare", action="store_true", help="only make what is to be measured, in --work")
    ask.add_argument("--quick", action="store_true")
    want = ask.parse_args()
    rows, repeats = (LARGE // 10, 5) if want.quick else (LARGE, want.repeats)
    with tempfile.TemporaryDirectory() as temporary:
        work = (want.work or Path(temporary)).resolve()
        programs = Path(sys.executable).parent if want.quick else work / "venv" / "bin"
        made = prepare(work, programs, want.photos, rows)
        if want.prepare:
            return
        figures = {**made, **measure(programs, work, rows, repeats)}
    print(json.dumps(figures, indent=1))
    print(record("cold", figures, repeats=repeats, quick=want.quick))


def prepare(work: Path, programs: Path, photos: Path, rows: int) -> dict[str, Any]:
    """Make the environment and the libraries, where they are not there yet; what there is to say of them."""
    made = work / "made.json"
    if not made.exists():
        work.mkdir(parents=True, exist_ok=True)
        if not (CLIP / "rclip").exists():
            quietly([peers.python("open_clip"), PROJECT / "benchmarks" / "clip_towers.py", CLIP])
        installed = install(programs.parent) if programs.is_relative_to(work) else {}
        index = [programs / "mmsearch", "index", thousand(photos, work / "photos"), *at(work / "small"), "--json"]
        said = {**installed, "index": json.loads(quietly(index, MMSEARCH_MODEL="bundled"))}
        large.stage(work / "large", rows)
        large.stage(work / "same towers", SMALL, model=str(CLIP / "models" / "int8"))
        for each in (SMALL, rows):
            fill_rclip(work / f"rclip {each}", each)
        made.write_text(json.dumps(said))
    found: dict[str, Any] = json.loads(made.read_text())
    return found


def install(environment: Path) -> dict[str, Any]:
    """Install `.[cpu]` into a new environment; returns how large it is."""
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    before_mb = size_mb(environment)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"{PROJECT}[cpu]"], check=True, stderr=subprocess.DEVNULL)
    after_mb = size_mb(environment)
    return {"installed_mb": round(after_mb - before_mb), "installed_with_pip_mb": round(after_mb)}


def size_mb(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


def measure(programs: Path, work: Path, rows: int, repeats: int) -> dict[str, Any]:
    """Time queries to the libraries, and to rclip's, in turns."""
    mmsearch, python = programs / "mmsearch", programs / "python"
    commands = {
        f"mmsearch {SMALL}": [mmsearch, "query", QUERY, *at(work / "small")],
        f"mmsearch {rows}": [mmsearch, "query", QUERY, *at(work / "large")],
        f"mmsearch {SMALL}, rclip's towers in int8": [mmsearch, "query", QUERY, *at(work / "same towers")],
        f"rclip {SMALL}": rclip(work / f"rclip {SMALL}"),
        f"rclip {rows}": rclip(work / f"rclip {rows}"),
        "imports alone": [python, "-c", FLOOR],
        "import numpy": [python, "-c", "import numpy"],
        "python": [python, "-c", ""],
    }
    times = interleaved({name: partial(quietly, command) for name, command in commands.items()}, repeats)
    loaded = quietly([python, "-c", LOADED, "loaded:", *map(str, commands[f"mmsearch {SMALL}"][1:])])
    peak_kb = int(quietly([python, "-c", PEAK, *commands[f"mmsearch {rows}"]]))
    codes_mb = sum(file.stat().st_size for file in (work / "large" / "vectors").glob("*-*.rows")) / 1e6
    unwanted = sorted(set(UNWANTED) & set(loaded.rpartition("loaded:")[2].split()))
    return {
        "rclip": peers.versions("rclip")["rclip"],
        "text_tower_mb": {
            "bundled": tower_mb(),
            "rclip": tower_mb(CLIP / "rclip"),
            "int8": tower_mb(CLIP / "models" / "int8"),
        },
        **times.figures(digits=0),
        "query_over_import_numpy": round(times.ratio(f"mmsearch {SMALL}", "import numpy"), 2),
        "query_over_imports_alone": round(times.ratio(f"mmsearch {SMALL}", "imports alone"), 2),
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "unwanted_modules_loaded": unwanted,
        "peak_mb": round(peak_kb / 1e3),
        "codes_mb": round(codes_mb, 1),
        "claims": claims(times, rows, peak_kb / 1e3, codes_mb),
    }


def thousand(photos: Path, folder: Path) -> Path:
    """A folder with the first thousand photos below another."""
    folder.mkdir()
    for number, photo in enumerate(sorted(photos.rglob("*.jpg"))[:SMALL]):
        (folder / f"{number:04}-{photo.name}").write_bytes(photo.read_bytes())
    return folder


def at(library: Path) -> list[str]:
    return ["--library", str(library)]


def fill_rclip(data: Path, rows: int) -> None:
    """A data directory for rclip with its towers, and so many rows of random vectors in its database."""
    data.mkdir()
    for part in filter(Path.is_dir, (CLIP / "rclip").iterdir()):  # not the database of another benchmark
        (data / part.name).symlink_to(part)
    code = "import sys; from rclip.db import DB; DB(sys.argv[1]).close()"
    quietly([peers.python("rclip"), "-c", code, data / "db.sqlite3"])
    vectors = np.random.default_rng(0).standard_normal((rows, 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with sqlite3.connect(data / "db.sqlite3") as connection:
        connection.executemany(
            "INSERT INTO images (filepath, modified_at, size, vector, hash) VALUES (?, 1, 1, ?, ?)",
            ((str(data / f"{at}.jpg"), vector.tobytes(), f"{at:064x}") for at, vector in enumerate(vectors)),
        )
    connection.close()


def rclip(data: Path) -> list[str]:
    """The command that asks rclip, which looks below the current folder."""
    asked = f"cd '{data}' && RCLIP_DATADIR='{data}' exec '{peers.program('rclip', 'rclip')}' -n -f '{QUERY}'"
    return ["sh", "-c", asked]


def tower_mb(folder: Path = PROJECT / "retrieval" / "encoders" / "bundled") -> float:
    """The size of the first text tower below a folder, with the data beside it."""
    found = sorted(each for name in ("text.onnx*", "textual.onnx*") for each in folder.rglob(name))
    return round(sum(file.stat().st_size for file in found if file.parent == found[0].parent) / 1e6, 1)


def claims(times: Times, rows: int, peak_mb: float, codes_mb: float) -> list[dict[str, Any]]:
    small, big, theirs, their_big = (f"{who} {n}" for who in ("mmsearch", "rclip") for n in (SMALL, rows))
    same = f"mmsearch {SMALL}, rclip's towers in int8"
    ms = {name: f"{times.wall_ms(name):,.0f} ms" for name in times.wall_s}
    more_ms = times.wall_ms(big) - times.wall_ms(small)
    over_codes = peak_mb - codes_mb
    return [
        claim(
            6, f"cold query, {SMALL:,} photos, bundled model", ours=ms[small],
            against=f"450 ms (the imports alone: {ms['imports alone']})", ratio=times.wall_ms(small) / 450, at_most=1,
        ),
        claim(
            6, f"cold query, {SMALL:,} photos, bundled model (4 MB of text tower)", ours=ms[small],
            against=f"rclip -n {ms[theirs]} (254 MB)", ratio=times.ratio(small, theirs), at_most=0.5,
        ),
        claim(
            6, f"cold query, {SMALL:,} photos, rclip's towers in int8", ours=ms[same],
            against=f"rclip -n {ms[theirs]}", ratio=times.ratio(same, theirs), at_most=0.5,
        ),
        claim(
            7, f"cold query, {rows:,} photos", ours=ms[big], against=f"rclip -n {ms[their_big]}",
            ratio=times.ratio(big, their_big), at_most=0.25,
        ),
        claim(
            7, f"cold query, {rows:,} photos, above {SMALL:,}", ours=f"{more_ms:.0f} ms more", against="100 ms more",
            ratio=more_ms / 100, at_most=1,
        ),
        claim(
            13, f"memory of a query process, {rows:,} photos", ours=f"codes ({codes_mb:.0f} MB) + {over_codes:.0f} MB",
            against="codes + 120 MB", ratio=over_codes / 120, at_most=1,
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    os.environ["MMSEARCH_DEVICE"] = "cpu"
    main()
