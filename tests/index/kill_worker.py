"""Indexes into a library until it is killed, and says after each commit what was committed.

    python kill_worker.py FOLDER FIRST_ROUND

Round r fills folder r % SLOTS with ITEMS photos that tell of r. Every few rounds the indexes are saved and
the catalogue is compacted.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from tests.index.samples import DIM, photo, row

from mmsearch.index.catalog import Catalog
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import NewItem

SLOTS = 3
ITEMS = 8


def items(root_id: int, round_: int) -> list[NewItem]:
    """What round r records."""
    return [
        photo(
            root_id,
            f"{round_ % SLOTS}/{i}.jpg",
            row(seed=round_ * 100 + i, text=f"round {round_}"),
            row("caption", round_ * 100 + i + 50, f"round {round_}"),
        )
        for i in range(ITEMS)
    ]


def main(folder: Path, first: int) -> None:
    catalog = Catalog.open(folder / "catalog.sqlite")
    root = catalog.add_root(Path("/photos"))
    indexes = Indexes(catalog, folder / "vectors", DIM)
    for round_ in count(first):
        catalog.record(items(root.id, round_))
        print(round_, flush=True)
        if round_ % 2:
            indexes.save()
        if round_ % 4 == 3:
            catalog.compact()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
