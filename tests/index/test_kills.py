"""A process that indexes is killed at random moments: whatever it had committed is there, and whole."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.index import kill_worker
from tests.index.samples import DIM, assert_level

from mmsearch.index.catalog import Catalog
from mmsearch.index.indexes import Indexes

KILLS = 8
REPOSITORY = Path(__file__).parents[2]


def run_until_killed(folder: Path, first: int, delay_s: float) -> list[int]:
    """The rounds that a worker said it had committed before it was killed, delay_s after its first."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.index.kill_worker", str(folder), str(first)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    with worker:
        said = [worker.stdout.readline()]
        time.sleep(delay_s)
        worker.kill()
        said += worker.stdout.readlines()
    # The kill may cut the last line short.
    return [int(line) for line in said if line.endswith("\n")]


def check(folder: Path, last_round: int) -> int:
    """Check the library after rounds up to last_round were said to be committed; returns the last that was."""
    catalog = Catalog.open(folder / "catalog.sqlite", create=False)
    assert catalog.problems() == []
    found = [check_slot(catalog, slot) for slot in range(kill_worker.SLOTS)]
    last = max(found)
    assert last in (last_round, last_round + 1)  # killed after a commit and before the word of it
    assert sorted(found) == list(range(max(0, last - kill_worker.SLOTS + 1), last + 1))
    assert catalog.counts().items == {"image": kill_worker.SLOTS * kill_worker.ITEMS}
    indexes = Indexes(catalog, folder / "vectors", DIM)
    assert_level(catalog, indexes)
    if indexes.problems():
        indexes.rebuild()
    assert indexes.problems() == []
    catalog.close()
    return last


def check_slot(catalog: Catalog, slot: int) -> int:
    """The one round that every item of a folder tells of, in all its rows and with its vectors."""
    held = catalog.items_under(Path(f"/photos/{slot}"))
    rounds = {stored.text for item in held for stored, _ in catalog.rows_of(item.id)}
    assert len(rounds) == 1
    round_ = int(rounds.pop().removeprefix("round "))
    for item, expected in zip(held, kill_worker.items(1, round_), strict=True):
        rows = catalog.rows_of(item.id)
        assert [vector.tobytes() for _, vector in rows] == [row.vector.tobytes() for row in expected.rows]
    return round_


def test_a_killed_process_loses_nothing_that_it_committed(tmp_path: Path) -> None:
    chance = random.Random(7)
    catalog = Catalog.open(tmp_path / "catalog.sqlite")
    root = catalog.add_root(Path("/photos"))
    for round_ in range(kill_worker.SLOTS):
        catalog.record(kill_worker.items(root.id, round_))
    catalog.close()
    last = kill_worker.SLOTS - 1
    for _ in range(KILLS):
        said = run_until_killed(tmp_path, last + 1, chance.uniform(0, 0.3))
        last = check(tmp_path, said[-1])
