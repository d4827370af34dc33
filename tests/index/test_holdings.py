"""What a run of indexing asks before it writes: whether anything is left to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.index.samples import caption, failure, photo, row

from mmsearch.index.catalog import Catalog
from mmsearch.index.items import NewRow, Root
from mmsearch.index.reader import Reader


@pytest.fixture
def reader(catalog: Catalog) -> Iterator[Reader]:
    opened = Reader.open(catalog.path, create=False)
    yield opened
    opened.close()


def test_a_reader_knows_of_files_what_the_catalogue_does(catalog: Catalog, reader: Reader, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row(), companions="k")], [failure(root.id, "b.jpg")])
    catalog.exclude(root.id, "c")
    catalog.set_captions(root.id, "/m.csv", [("a.jpg", caption("a dog"))])
    assert reader.known(root.id) == {"a.jpg": (1, 10, 20, "k", "digest of a.jpg"), "b.jpg": (None, 1, 2, "", None)}
    assert reader.excludes(root.id) == {"c"}
    assert reader.captions(root.id) == {"a.jpg": (caption("a dog"),)}
    assert reader.unmeasured(9)[0].tolist() == [1]


def test_a_catalogue_is_compact_until_something_is_written(catalog: Catalog, reader: Reader, root: Root) -> None:
    catalog.compact()
    assert reader.is_compact()
    catalog.record([photo(root.id, "a.jpg", row())])
    assert not reader.is_compact()  # the log holds it
    catalog.compact()
    assert reader.is_compact()


@pytest.mark.parametrize("rows", [[], [row(text="a secret")]])
def test_what_a_killed_run_removed_is_left_to_compact(
    catalog: Catalog, reader: Reader, root: Root, tmp_path: Path, rows: list[NewRow]
) -> None:
    catalog.record([photo(root.id, "a.jpg", *rows)])
    catalog.compact()
    catalog.drop_root(root.id)
    catalog._alone("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not (tmp_path / "catalog.sqlite-wal").stat().st_size
    assert reader.has_removed()
    assert not reader.is_compact()
    catalog.compact()
    assert not reader.has_removed()


def test_judgements_are_lost_when_nothing_else_is_known_of_their_file(
    catalog: Catalog, reader: Reader, root: Root
) -> None:
    catalog.record([photo(root.id, "a.jpg", row())])
    catalog.judge("a dog", {1: True})
    assert not reader.has_lost_judgements()
    catalog.record([], [failure(root.id, "a.jpg")])
    assert not reader.has_lost_judgements()
    catalog.clear_failures(root.id)
    assert reader.has_lost_judgements()
    catalog.prune_judgements()
    assert not reader.has_lost_judgements()
