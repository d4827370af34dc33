"""A training recipe: a TOML file read into frozen values, unknown keys refused."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mmsearch.retrieval.training.sources import Source


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a training run is made of.

    root:     where the data lies: $MMSEARCH_DATA, else `root` in the file, else the file's folder.
    side:     pixels of the image tower's square input.
    sections: the file's tables by name. stages: the image tower's stages, in order.
    """

    name: str
    version: str
    seed: int
    side: int
    root: Path
    sources: tuple[Source, ...]
    sections: dict[str, dict[str, Any]]
    stages: tuple[dict[str, Any], ...]

    def section(self, name: str) -> dict[str, Any]:
        """The settings of one section, {} where the file has none."""
        return self.sections.get(name, {})


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; raises ValueError naming the key that is missing or unknown."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    missing = {"name", "seed", "side", "source"} - table.keys()
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}")
    root = os.environ.get("MMSEARCH_DATA") or table.get("root") or "."
    return Recipe(
        name=table["name"],
        version=str(table.get("version", "1")),
        seed=int(table["seed"]),
        side=int(table["side"]),
        root=(path.parent / root).resolve(),
        sources=tuple(_source(entry, path) for entry in table["source"]),
        sections={key: value for key, value in table.items() if isinstance(value, dict)},
        stages=tuple(table.get("stage", ())),
    )


def _source(entry: dict[str, Any], path: Path) -> Source:
    known = {field.name for field in fields(Source)}
    unknown = entry.keys() - known
    if unknown:
        raise ValueError(f"{path}: a source has the unknown key {', '.join(sorted(unknown))}")
    return Source(**entry)
