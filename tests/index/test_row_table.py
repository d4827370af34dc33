"""The arrays of rows give what the catalogue gives, whatever was added, removed and measured meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.index.samples import photo, row, row_ids

from mmsearch.index import row_table
from mmsearch.index.catalog import Catalog
from mmsearch.index.items import VIEWS, Root
from mmsearch.index.row_table import RowTable
from mmsearch.index.rows import RowFacts


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_table, "_PATIENCE", 0)


@pytest.fixture
def other(catalog: Catalog) -> Iterator[Catalog]:
    """The same catalogue, as another process has it open."""
    opened = Catalog.open(catalog.path, create=False)
    yield opened
    opened.close()


def assert_level(table: RowTable, catalog: Catalog) -> None:
    """Facts of rows that there are, were and never were, and the rows of items, are those of the catalogue."""
    asked = np.array([3, -1, *range(40, -2, -3), *range(41)])
    found, expected = table.facts(asked), catalog.facts(asked)
    for field in fields(RowFacts):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name))
    for view in VIEWS:
        for pair in zip(*(each.rows_of_items(np.arange(1, 30), view) for each in (table, catalog)), strict=True):
            np.testing.assert_array_equal(*pair)


Change = Callable[[Catalog, Root, int], object]
CHANGES: dict[str, Change] = {
    "add": lambda catalog, root, n: catalog.record(
        [photo(root.id, f"{n}.jpg", row(seed=n), *(row("caption", n + at, "x" * at) for at in range(n % 3)))]
    ),
    "forget": lambda catalog, root, n: catalog.forget([n]),
    "measure": lambda catalog, root, n: catalog.note_hubness(np.array([n]), np.array([n / 8], np.float32)),
    "clear": lambda catalog, root, n: catalog.clear_hubness(),
    "compact": lambda catalog, root, n: catalog.compact(),
    "unembed": lambda catalog, root, n: catalog.unembed(),
}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(1, 9), st.booleans()), max_size=8))
def test_the_table_is_level_after_every_change(
    empty_catalog: Path, tmp_path: Path, changes: list[tuple[str, int, bool]]
) -> None:
    catalog = Catalog.open(Path(shutil.copy(empty_catalog, tmp_path)))
    root = catalog.add_root(Path("/photos"))
    CHANGES["add"](catalog, root, 2)
    table = RowTable(catalog)
    for name, number, is_asked in changes:
        CHANGES[name](catalog, root, number)
        if is_asked:
            assert_level(table, catalog)
    assert_level(table, catalog)
    catalog.close()


def test_what_another_process_commits_is_seen(catalog: Catalog, other: Catalog, root: Root) -> None:
    table = RowTable(catalog)
    for change in ("add", "measure", "forget", "compact", "add"):
        CHANGES[change](other, root, 1)
        assert_level(table, catalog)


def test_a_process_that_asks_little_reads_no_more_than_it_asks(
    catalog: Catalog, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.record([photo(root.id, f"{n}.jpg", row(seed=n)) for n in range(3)])
    monkeypatch.setattr(row_table, "_PATIENCE", 2)
    read: list[int] = []
    after = Catalog.facts_after

    def listening(self: Catalog, row_id: int, limit: int) -> tuple[np.ndarray, RowFacts]:
        read.append(row_id)
        return after(self, row_id, limit)

    monkeypatch.setattr(Catalog, "facts_after", listening)
    table, rows = RowTable(catalog), np.array(row_ids(catalog))
    for expected in ([], [], [0, 3], [0, 3]):
        assert table.facts(rows).owners.tolist() == [1, 2, 3]
        assert read == expected


def test_a_library_that_is_too_large_is_asked_itself(
    catalog: Catalog, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_table, "_MOST_ROWS", 2)
    catalog.record([photo(root.id, f"{n}.jpg", row(seed=n)) for n in range(3)])
    table = RowTable(catalog)
    assert_level(table, catalog)
    assert table._held is None


def test_rows_are_read_a_part_at_a_time(catalog: Catalog, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_table, "_CHUNK", 2)
    catalog.record([photo(root.id, f"{n}.jpg", row(seed=n), row("caption", n, "x" * n)) for n in range(5)])
    assert_level(RowTable(catalog), catalog)
