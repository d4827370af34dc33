"""Does the library survive being killed, failing disks and full disks? Tried on the real command.

    python benchmarks/faults.py [--kills 200] [--stride 1] [--model NAME]

A folder is indexed, then changed (files added, edited, renamed, removed). From that state `mmsearch index`
is run again and again on a copy of the library, each time with one fault: SIGKILL at a random moment, or at
the Nth change to a file of the library (every write, truncation, sync, rename and unlink, found by
`fault_shim.c`) a SIGKILL, an I/O error, or a disk that is full from then on. After each: every item is what
it was before or what it was to become, none is torn or lost, `verify` is clean or `repair` makes it so, the
vector indexes give the exact answer, and the next `index` ends in the same library as an undisturbed run.
Needs a C compiler. Writes results/faults.json.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from mmsearch import Library
from mmsearch.index.items import VIEWS

Contents = dict[str, tuple[Any, ...]]
SHIM = Path(__file__).with_name("fault_shim.c")
MODES = ("kill", "fail", "full")
Fault = float | dict[str, str]
SMALL_STEPS = ["--batch-size", "8", "--workers", "1"]
PRELOADED = ["mmsearch.cli.app", "mmsearch.cli.index", "mmsearch.retrieval.library", "mmsearch.retrieval.indexing",
             "mmsearch.retrieval.encoders.onnx_encoder", "faiss"]  # fmt: skip


@dataclass
class Findings:
    """What a campaign saw. wrong holds a sentence for everything that must not happen."""

    trials: Counter[str] = field(default_factory=Counter)
    exit_codes: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    changes_per_run: int = 0
    seconds_per_run: float = 0.0
    wrong: list[str] = field(default_factory=list)


def campaign(work: Path, *, kills: int, stride: int, model: str, seed: int = 0) -> Findings:
    """Run all trials in the folder work; every stride-th change to a file is tried."""
    photos, before, trial = work / "photos", work / "before", work / "library"
    make_folder(photos)
    findings = Findings()
    with Runner(work, trial, photos, model) as runner:
        index(before, photos, model)
        change_folder(photos)
        start, goal = contents(before), undisturbed(runner, before, findings)
        for name, mode, fault in faults(kills, stride, seed, findings):
            fresh(before, trial)
            code = runner.run(fault)
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


class Runner:
    """Runs `mmsearch index` in processes of its own, forked from one that has the shim and the imports already."""

    def __init__(self, work: Path, trial: Path, photos: Path, model: str) -> None:
        self._shim = work / "shim.so"
        self._counted = work / "changes"
        self._trial = trial
        self._command = ["index", str(photos), "--library", str(trial), "--model", model, *SMALL_STEPS]
        self._context = multiprocessing.get_context("forkserver")

    def __enter__(self) -> Self:
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self._shim, SHIM, "-ldl"], check=True)
        self._context.set_forkserver_preload(PRELOADED)
        os.environ["LD_PRELOAD"] = str(self._shim)
        self.run({})  # the server starts with the shim
        del os.environ["LD_PRELOAD"]
        return self

    def __exit__(self, *_: object) -> None:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]

    def run(self, fault: Fault) -> int:
        """Run the command with one fault: settings of the shim, or a moment in seconds to kill it at."""
        settings = fault if isinstance(fault, dict) else {}
        process = self._context.Process(
            target=_index, args=(self._command, {"FAULT_DIR": str(self._trial), **settings}, self._counted)
        )
        process.start()
        process.join(fault if isinstance(fault, float) else 120)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode or 0

    @property
    def changes(self) -> int:
        """How many changes the last run that ended by itself made to the files of the library."""
        return int(self._counted.read_text())


def _index(command: list[str], settings: dict[str, str], counted: Path) -> None:
    from mmsearch.cli.app import run

    os.environ.update(settings)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        code = run(command)
    counted.write_text(str(ctypes.CDLL(None).fault_changes()))
    sys.exit(code)


def index(library: Path, photos: Path, model: str) -> None:
    """Index in this process, without faults."""
    with Library.open(library, model=model) as opened:
        opened.index([photos], batch_size=8, workers=1)


def fresh(before: Path, trial: Path) -> None:
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(before, trial)


def undisturbed(runner: Runner, before: Path, findings: Findings) -> Contents:
    """What a run without faults makes of the library; notes how long it takes and how many changes it makes."""
    fresh(before, runner._trial)
    started = time.monotonic()
    runner.run({"FAULT_MODE": "count"})
    findings.seconds_per_run = time.monotonic() - started
    findings.changes_per_run = runner.changes
    return contents(runner._trial)


def faults(kills: int, stride: int, seed: int, findings: Findings) -> Iterator[tuple[str, str, Fault]]:
    """(name, mode, fault) of each trial."""
    draw = random.Random(seed)
    for i in range(kills):
        yield f"random kill {i}", "random kill", draw.uniform(0.0, 1.0) * findings.seconds_per_run
    for mode in MODES:
        for at in range(1, findings.changes_per_run + 1, stride):
            yield f"{mode} at change {at}", mode, {"FAULT_MODE": mode, "FAULT_AT": str(at)}


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
    with closing(sqlite3.connect(library / "catalog.sqlite")) as connection:
        for view in VIEWS:
            stored = connection.execute("SELECT id, vector FROM rows WHERE view = ? ORDER BY id", [view]).fetchall()
            if not stored:
                continue
            vectors = np.stack([np.frombuffer(vector, np.float16) for _, vector in stored]).astype(np.float32)
            found = opened._indexes.search(view, vectors, 1)
            exact = (vectors @ vectors.T).max(axis=1)
            if len(stored) != opened._indexes.count(view) or not np.allclose(found.scores[:, 0], exact, atol=1e-3):
                yield f"the index of {view} does not give the exact answer"


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
