"""Indexing a folder again in which nothing has changed, against rclip.

    python benchmarks/reindexing.py --photos DIR [--files 100000] [--repeats 5] [--quick]

Makes a folder of so many files, hard links to a thousand of the small photos in DIR, in rolls of a thousand; indexes it
with the bundled model; and fills rclip's database with what its own run would have put there (hours, otherwise). Then
times in turns: `mmsearch index`; rclip's own check of the folder, without the query that its command goes on to; and
what nobody can do without, listing the folder and asking for every file's size and time.
Writes results/reindexing.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
from functools import partial
from pathlib import Path

import peers
from record import claim, record
from timing import interleaved, quietly

ROLL = 1000
# Only what its command does before it answers; its model is not loaded for it.
RCLIP = """
import os, sys
from rclip import model
model.Model.ensure_downloaded = lambda self: None
from rclip.main import init_rclip
init_rclip(sys.argv[1], 8)
"""
FLOOR = """
import os, sys
for folder in os.scandir(sys.argv[1]):
    for entry in os.scandir(folder):
        entry.stat()
"""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--photos", type=Path, required=True)
    ask.add_argument("--files", type=int, default=100_000)
    ask.add_argument("--repeats", type=int, default=5)
    ask.add_argument("--work", type=Path, help="a folder on the disk of DIR, to keep the library for the next time")
    ask.add_argument("--quick", action="store_true")
    want = ask.parse_args()
    files = want.files if not want.quick else min(want.files, 10_000)
    with tempfile.TemporaryDirectory() as temporary:
        work = want.work or Path(temporary)
        folder = link(sorted(want.photos.rglob("*.jpg"))[:ROLL], work / f"photos-{files}", files)
        figures = measure(folder, work, files, want.repeats)
    print(json.dumps(figures, indent=1))
    print(record("reindexing", figures, repeats=want.repeats, quick=want.quick))


def link(photos: list[Path], folder: Path, count: int) -> Path:
    """A folder of so many files, each a hard link to one of the photos."""
    for at in range(count):
        roll = folder / f"roll-{at // ROLL:03}"
        roll.mkdir(parents=True, exist_ok=True)
        path = roll / f"IMG_{at % ROLL:04}.jpg"
        if not path.exists():
            path.hardlink_to(photos[at % len(photos)])
    return folder


def measure(folder: Path, work: Path, files: int, repeats: int) -> dict[str, object]:
    """Index once, then time what it takes to find that nothing has changed."""
    library, data = work / f"library-{files}", work / f"rclip-{files}"
    ours = partial(quietly, [sys.executable, "-m", "mmsearch", "index", folder, "--library", library, "--json"])
    ours(MMSEARCH_MODEL="bundled")
    fill_rclip(folder, data)
    times = interleaved(
        {
            "mmsearch": ours,
            "rclip": partial(quietly, [peers.python("rclip"), "-c", RCLIP, folder], RCLIP_DATADIR=str(data)),
            "floor": partial(quietly, [sys.executable, "-c", FLOOR, folder]),
        },
        repeats,
    )
    report = json.loads(ours())
    if report["unchanged"] != files:
        raise SystemExit(f"something had changed: {report}")
    wall = times.figures()["wall_ms"]
    return {
        "files": files,
        "rclip": peers.versions("rclip")["rclip"],
        "rclip_database": "filled directly",
        **times.figures(),
        "claims": [
            claim(
                5,
                f"unchanged folder of {files:,} files, again",
                ours=f"{wall['mmsearch'] / 1e3:.2f} s",
                against=f"rclip {wall['rclip'] / 1e3:.2f} s",
                ratio=times.ratio("rclip", "mmsearch"),
                at_least=5,
            )
        ],
    }


def fill_rclip(folder: Path, data: Path) -> None:
    """Put into rclip's database what its run over the folder would have; its own code makes the tables."""
    data.mkdir(parents=True, exist_ok=True)
    database = data / "db.sqlite3"
    if database.exists():
        return
    code = "import sys; from rclip.db import DB; DB(sys.argv[1]).close()"
    quietly([peers.python("rclip"), "-c", code, database])
    vector = bytes(4 * 512)
    rows = (
        (entry.path, status.st_mtime, status.st_size, vector, f"{at:064x}")
        for roll in os.scandir(folder)
        for at, entry in enumerate(os.scandir(roll))
        if (status := entry.stat())
    )
    with sqlite3.connect(database) as connection:
        connection.executemany(
            "INSERT INTO images (filepath, modified_at, size, vector, hash) VALUES (?, ?, ?, ?, ?)", rows
        )
    connection.close()


if __name__ == "__main__":
    main()
