"""The texts to learn from: captions of photos, captions of sounds, and class names; with a sentence model's vectors."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmsearch.retrieval.training.pool import Shelf
from mmsearch.retrieval.training.sources import share
from mmsearch.retrieval.training.text_stage import TextSet

PROMPT = "a photo of a {}."


@dataclass(frozen=True, slots=True)
class Texts:
    """A table of texts alone. columns: those that hold a caption; key: the column that names what they describe."""

    path: str
    key: str
    columns: tuple[str, ...]
    hold: float = 0.0
    most: int = 0


@dataclass(frozen=True, slots=True)
class Sentence:
    text: str
    group: str
    dev: bool = False


def plain(label: str) -> str:
    """A class name as words.

    >>> plain("Garden_spider ")
    'garden spider'
    """
    return label.replace("_", " ").strip().lower()


def captions_of(shelves: list[Shelf]) -> list[Sentence]:
    """Every caption of every shelf; those of photos outside the train split are marked dev."""
    return [
        Sentence(text, f"{shelf.source.name}/{row['key']}", row["split"] != "train")
        for shelf in shelves
        for row in shelf.rows
        for text in row["captions"]  # type: ignore[attr-defined]
    ]


def names_of(shelves: list[Shelf], classes: list[str]) -> list[Sentence]:
    """Class names of the shelves and of the teacher, bare and as prompts."""
    found = {plain(str(row["label"])) for shelf in shelves for row in shelf.rows if row["label"]}
    names = sorted(found | {plain(name) for name in classes})
    return [Sentence(text, f"label/{name}") for name in names for text in (name, PROMPT.format(name))]


def table_of(texts: Texts, root: Path) -> list[Sentence]:
    """The captions of a table; a share of its keys, chosen by hash, is marked dev."""
    with (root / texts.path).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if texts.most and len(rows) > texts.most:
        rows = sorted(rows, key=lambda row: share(row[texts.key] + str(row)))[: texts.most]
    return [
        Sentence(row[column].strip(), f"{texts.path}/{row[texts.key]}", share(row[texts.key]) < texts.hold)
        for row in rows
        for column in texts.columns
        if row.get(column)
    ]


def sentence_vectors(package: str, sentences: list[str], cache: Path) -> np.ndarray:
    """(T, D) float16 unit rows of a sentence-transformers model inside a Python package, kept in `cache`."""
    if cache.exists():
        kept: np.ndarray = np.load(cache)
        if len(kept) == len(sentences):
            return kept
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"the text teacher is missing; run `pip install {package.replace('_', '-')}`")
    from sentence_transformers import SentenceTransformer

    folder = str(Path(found.submodule_search_locations[0]) / "model")
    model: Any = SentenceTransformer(folder, device=str(torch.get_default_device()))
    rows = model.encode(sentences, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
    np.save(cache, rows.astype(np.float16))
    return np.asarray(rows, dtype=np.float16)


def text_set(sentences: list[Sentence], tokens: np.ndarray, teacher: np.ndarray) -> TextSet:
    """Sentences with their tokens (T, L) and teacher rows (T, D) as the text stage wants them."""
    _, group = np.unique([sentence.group for sentence in sentences], return_inverse=True)
    named = np.array([sentence.group.startswith("label/") for sentence in sentences])
    paired = (np.bincount(group)[group] > 1) & ~named
    dev = np.array([sentence.dev for sentence in sentences])
    return TextSet(tokens, teacher.astype(np.float32), group, paired, dev)
