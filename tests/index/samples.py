"""Vectors, items and checks that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.exact import ExactStore
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS, Kind, ManifestCaption, NewFailure, NewItem, NewRow, View
from mmsearch.index.reader import Reader

DIM = 16


def unit(n: int, seed: int = 0, dim: int = DIM) -> NDArray[np.float32]:
    """Random unit vectors (n, dim) whose values are those of float16."""
    vectors = np.random.default_rng(seed).standard_normal((n, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16).astype(np.float32)


def row(view: View = "image", seed: int = 0, text: str = "", **more: Any) -> NewRow:
    return NewRow(view, f"{view}-{seed}", unit(1, seed)[0].astype(np.float16), text, **more)


def photo(root_id: int, path: str, *rows: NewRow, kind: Kind = "image", **more: Any) -> NewItem:
    values: dict[str, Any] = {
        "size_bytes": 10,
        "mtime_ns": 20,
        "companions": "",
        "digest": f"digest of {path}",
        "taken_at": "2024-05-01T12:00:00",
    }
    return NewItem(root_id, path, kind, rows=rows, **(values | more))


def failure(root_id: int, path: str, reason: str = "it is empty") -> NewFailure:
    return NewFailure(root_id, path, 1, 2, "", reason)


def caption(text: str, **more: Any) -> ManifestCaption:
    return ManifestCaption("caption", text, **more)


def row_ids(catalog: Reader, view: View = "image") -> list[int]:
    ids, _ = catalog.rows_after(view, 0, 1_000_000)
    return [int(each) for each in ids]


def oracle(catalog: Catalog, view: View) -> ExactStore:
    """The exact store over what the catalogue holds."""
    store = ExactStore(DIM)
    ids, vectors = catalog.rows_after(view, 0, 1_000_000)
    if len(ids):
        store.add(ids, vectors.astype(np.float32))
    return store


def assert_level(catalog: Catalog, indexes: Indexes) -> None:
    """Searches give what exact ranking over the catalogue gives."""
    queries = unit(5, seed=99)
    for view in VIEWS:
        expected = oracle(catalog, view).search(queries, 7)
        found = indexes.search(view, queries, 7)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.scores, expected.scores)


def bytes_in(folder: Path) -> bytes:
    """Everything that the files of a folder hold."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
