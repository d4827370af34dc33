"""Recipes: TOML files read into frozen values, unknown keys refused; and the recipe of the towers."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from mmsearch.retrieval.training.sources import Source

Table = TypeVar("Table")


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
    table = read_table(path, {"name", "seed", "side", "source"})
    return Recipe(
        name=table["name"],
        version=str(table.get("version", "1")),
        seed=int(table["seed"]),
        side=int(table["side"]),
        root=data_root(table, path),
        sources=tuple(read_as(Source, entry, path) for entry in table["source"]),
        sections={key: value for key, value in table.items() if isinstance(value, dict)},
        stages=tuple(table.get("stage", ())),
    )


def read_table(path: Path, required: set[str]) -> dict[str, Any]:
    """The values of a recipe; ValueError where one that is required is missing."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    missing = required - table.keys()
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}")
    return table


def data_root(table: dict[str, Any], path: Path) -> Path:
    """Where the data of a recipe lies: $MMSEARCH_DATA, else `root` in the file, else the file's folder."""
    return (path.parent / (os.environ.get("MMSEARCH_DATA") or table.get("root") or ".")).resolve()


def read_as(kind: type[Table], values: dict[str, Any], path: Path) -> Table:
    """The values of one table of a recipe as a dataclass; ValueError for a key that it does not know."""
    unknown = values.keys() - {each.name for each in fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"{path}: unknown key {', '.join(sorted(unknown))}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
