"""The captions that figures are taken on."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path


def dev_captions(table: Path) -> dict[str, list[str]]:
    """The captions of each dev photo, by file name."""
    captions: dict[str, list[str]] = defaultdict(list)
    with table.open(newline="", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            if line["split"] == "dev":
                captions[line["image"]].append(line["caption"])
    return dict(captions)
