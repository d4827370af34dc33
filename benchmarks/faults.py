"""Does the library survive being killed, failing disks and full disks? Tried on the real command.

    python benchmarks/faults.py [--kills 200] [--stride 1] [--model NAME]

A folder is indexed, then changed (files added, edited, renamed, removed). From that state `mmsearch index`
is run again and again on a copy of the library, each time with one fault: SIGKILL at a random moment, or at
the Nth change to a file of the library (every write, truncation, sync, rename and unlink, found by
`fault_shim.c`) a SIGKILL, an I/O error, or a disk that is full from then on. After each: every item is what
it was before or what it was to become, none is torn or lost, `verify` is clean or `repair` makes it so, the vector indexes give the
exact answer, and the next `index` ends in the same library as an undisturbed run.
Needs a C compiler. Writes results/faults.json.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmsearch import Library
from mmsearch.index.items import VIEWS

Contents = dict[str, tuple[Any, ...]]
SHIM = Path(__file__).with_name("fault_shim.c")
MODES = ("kill", "fail", "full")


@dataclass
class Findings:
    """What a campaign saw. wrong holds a sentence for everything that must not happen."""

    trials: Counter[str] = field(default_factory=Counter)
    exit_codes: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    changes_per_run: int = 0
    wrong: list[str] = field(default_factory=list)


def campaign(work: Path, *, kills: int, stride: int, model: str, seed: int = 0, offset: int = 0) -> Findings:
    """Run all trials in the folder work; every stride-th change to a file is tried, from offset on."""
    findings = Findings()
    photos, before, trial = work / "photos", work / "before", work / "library"
    make_folder(photos)
    index(before, photos, model)
    change_folder(photos)
    start = contents(before)
    goal, seconds, findings.changes_per_run = undisturbed(before, trial, photos, model, shim(work))
    for name, mode, fault in faults(kills, stride, offset, seed, seconds, findings.changes_per_run, shim(work), trial):
        shutil.rmtree(trial)
        shutil.copytree(before, trial)
        code = run_with(fault, trial, photos, model)
        findings.trials[mode] += 1
        findings.exit_codes[f"{mode}: {code}"] += 1
        findings.wrong += [f"{name}: {what}" for what in check(trial, photos, model, start, goal, mode, findings)]
    return findings


def make_folder(folder: Path) -> None:
    """Photos with and without sidecars, texts and captioned sounds."""
    folder.mkdir()
    draw = np.random.default_rng(1)
    for i in range(24):
        photo = Image.fromarray(draw.integers(0, 255, (24, 24, 3), dtype=np.uint8))
        photo.save(folder / f"photo{i}.png")
        if i % 3 == 0:
            (folder / f"photo{i}.txt").write_text(f"caption number {i}")
    for i in range(6):
        (folder / f"notes{i}.md").write_text("\n\n".join(f"paragraph {i} {j}" for j in range(3 * i + 1)))


def change_folder(folder: Path) -> None:
    """Add, edit, rename, copy and remove some files."""
    draw = np.random.default_rng(2)
    for i in range(24, 32):
        Image.fromarray(draw.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / f"photo{i}.png")
    for i in range(0, 4):
        Image.fromarray(draw.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / f"photo{i}.png")
    for i in range(4, 8):
        (folder / f"photo{i}.png").rename(folder / f"renamed{i}.png")
    for i in range(8, 12):
        (folder / f"photo{i}.png").unlink()
    shutil.copy(folder / "photo12.png", folder / "copy12.png")
    (folder / "photo15.txt").write_text("another caption")
    (folder / "notes2.md").write_text("another text")
    (folder / "broken.png").write_bytes(b"no photo")


def shim(work: Path) -> Path:
    """The compiled shim."""
    built = work / "shim.so"
    if not built.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", built, SHIM, "-ldl"], check=True)
    return built


def command(library: Path, photos: Path, model: str) -> list[str]:
    return [sys.executable, "-m", "mmsearch", "index", str(photos), "--library", str(library),
            "--model", model, "--batch-size", "8", "--workers", "1"]  # fmt: skip


def index(library: Path, photos: Path, model: str) -> None:
    subprocess.run(command(library, photos, model), check=True, capture_output=True)


def undisturbed(before: Path, trial: Path, photos: Path, model: str, shim: Path) -> tuple[Contents, float, int]:
    """What a run without faults makes of the library, how long it takes, and how many changes it makes."""
    shutil.copytree(before, trial)
    log = trial.with_name("changes")
    started = time.monotonic()
    count = {"LD_PRELOAD": str(shim), "FAULT_DIR": str(trial), "FAULT_MODE": "count", "FAULT_LOG": str(log)}
    subprocess.run(command(trial, photos, model), check=True, capture_output=True, env=os.environ | count)
    return contents(trial), time.monotonic() - started, int(log.read_text())


Fault = float | dict[str, str]


def faults(
    kills: int, stride: int, offset: int, seed: int, seconds: float, changes: int, shim: Path, trial: Path
) -> Iterator[tuple[str, str, Fault]]:
    """(name, mode, fault): a moment in seconds, or the environment that makes the shim strike."""
    draw = random.Random(seed)
    for i in range(kills):
        yield f"random kill {i}", "random kill", draw.uniform(0.2, 1.0) * seconds
    for mode in MODES:
        for at in range(1 + offset, changes + 1, stride):
            yield (
                f"{mode} at change {at}",
                mode,
                {"LD_PRELOAD": str(shim), "FAULT_DIR": str(trial), "FAULT_MODE": mode, "FAULT_AT": str(at)},
            )


def run_with(fault: Fault, library: Path, photos: Path, model: str) -> int:
    """Run `mmsearch index` with one fault; its exit code, negative for a signal."""
    environment = os.environ | (fault if isinstance(fault, dict) else {})
    process = subprocess.Popen(
        command(library, photos, model), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        return process.wait(timeout=fault if isinstance(fault, float) else 120)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait()


def check(
    library: Path, photos: Path, model: str, start: Contents, goal: Contents, mode: str, findings: Findings
) -> Iterator[str]:
    """What is wrong with the library after a fault, and after the run that follows."""
    now = contents(library)
    for path in start.keys() | goal.keys() | now.keys():
        if now.get(path) not in (start.get(path), goal.get(path)):
            yield f"{path} is neither what it was nor what it was to become"
    with Library.open(library, model=model) as opened:
        if opened.verify():
            findings.repaired[mode] += 1
            opened.repair()
            yield from (f"after repair: {problem}" for problem in opened.verify())
        yield from wrong_answers(opened, library)
    index(library, photos, model)
    if contents(library) != goal:
        yield "the next index did not end in the library of an undisturbed run"
    with Library.open(library, model=model) as opened:
        yield from (f"after the next index: {problem}" for problem in opened.verify())


def wrong_answers(opened: Library, library: Path) -> Iterator[str]:
    """Compare each view's index with an exact search of the vectors in the catalogue."""
    with sqlite3.connect(library / "catalog.sqlite") as connection:
        for view in VIEWS:
            stored = connection.execute("SELECT id, vector FROM rows WHERE view = ? ORDER BY id", [view]).fetchall()
            if not stored:
                continue
            vectors = np.stack([np.frombuffer(vector, np.float16) for _, vector in stored]).astype(np.float32)
            found = opened._indexes.search(view, vectors, 1)
            exact = (vectors @ vectors.T).max(axis=1)
            if len(stored) != opened._indexes.count(view) or not np.allclose(found.scores[:, 0], exact, atol=1e-3):
                yield f"the index of {view} does not give the exact answer"
    connection.close()


def contents(library: Path) -> Contents:
    """Everything that the catalogue says of each path, without ids, which may differ from run to run."""
    connection = sqlite3.connect(library / "catalog.sqlite")
    try:
        items = connection.execute("SELECT id, path, digest, size_bytes, kind, companions FROM items").fetchall()
        rows = connection.execute(
            "SELECT item_id, view, content_key, vector, text, start_s, char_start FROM rows ORDER BY id"
        ).fetchall()
    finally:
        connection.close()
    return {path: (*rest, tuple(row[1:] for row in rows if row[0] == item_id)) for item_id, path, *rest in items}


def main() -> None:
    from record import record

    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--kills", type=int, default=200)
    ask.add_argument("--stride", type=int, default=1)
    ask.add_argument("--model", default="bundled")
    ask.add_argument("--seed", type=int, default=0)
    want = ask.parse_args()
    with tempfile.TemporaryDirectory() as work:
        findings = campaign(Path(work), kills=want.kills, stride=want.stride, model=want.model, seed=want.seed)
    print(record("faults", vars(findings), seed=want.seed))
    print(*findings.wrong, f"{len(findings.wrong)} wrong in {findings.trials.total()} trials", sep="\n")
    sys.exit(bool(findings.wrong))


if __name__ == "__main__":
    main()
