from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from tests.index.samples import failure, photo, row, row_ids

from mmsearch.index.catalog import Catalog
from mmsearch.index.items import Failure, Item, Known, Root


def texts(catalog: Catalog, path: str) -> list[str]:
    item = catalog.item_at(Path("/photos", path))
    return [] if item is None else [stored.text for stored, _ in catalog.rows_of(item.id)]


def test_a_recorded_item_comes_back_whole(catalog: Catalog, root: Root) -> None:
    metadata = {"camera": "Kodak Ж", "latitude": -1.5, "width": 4000, "tags": ["a", "b"]}
    catalog.record([photo(root.id, "beach/rex.jpg", mtime_ns=2**62, size_bytes=2**40, metadata=metadata)])
    item = catalog.item_at(Path("/photos/beach/rex.jpg"))
    assert item is not None
    assert item == Item(
        id=item.id,
        path=Path("/photos/beach/rex.jpg"),
        kind="image",
        size_bytes=2**40,
        mtime_ns=2**62,
        digest="digest of beach/rex.jpg",
        taken_at="2024-05-01T12:00:00",
        metadata=metadata,
    )


def test_rows_come_back_whole_and_in_order(catalog: Catalog, root: Root) -> None:
    rows = (
        row("image", 1),
        row("audio_caption", 2, "waves", start_s=1.5, end_s=2.25),
        row("text", 3, "passage", char_start=10, char_end=17),
    )
    catalog.record([photo(root.id, "a.jpg", *rows)])
    item = catalog.item_at(Path("/photos/a.jpg"))
    assert item is not None
    stored = catalog.rows_of(item.id)
    for (found, vector), given_row in zip(stored, rows, strict=True):
        assert (found.view, found.text) == (given_row.view, given_row.text)
        assert (found.start_s, found.end_s) == (given_row.start_s, given_row.end_s)
        assert (found.char_start, found.char_end) == (given_row.char_start, given_row.char_end)
        assert found.item == item
        assert vector.dtype == np.float16
        np.testing.assert_array_equal(vector, given_row.vector)


def test_recording_a_path_again_replaces_what_it_held(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row(text="old")), photo(root.id, "b.jpg", row(text="stays"))])
    old = row_ids(catalog)[0]
    catalog.record([photo(root.id, "a.jpg", row(text="new"))])
    assert texts(catalog, "a.jpg") == ["new"]
    assert texts(catalog, "b.jpg") == ["stays"]
    assert catalog.graves_after("image", 0)[0].tolist() == [old]


def test_a_failure_replaces_the_item_of_its_path(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row())])
    catalog.record([], [failure(root.id, "a.jpg", "truncated")])
    assert catalog.item_at(Path("/photos/a.jpg")) is None
    assert [(each.path, each.reason) for each in catalog.failures()] == [(Path("/photos/a.jpg"), "truncated")]


def test_an_item_clears_the_failure_of_its_path(catalog: Catalog, root: Root) -> None:
    catalog.record([], [failure(root.id, "a.jpg"), failure(root.id, "b.jpg")])
    catalog.record([photo(root.id, "a.jpg")])
    assert [each.path for each in catalog.failures()] == [Path("/photos/b.jpg")]


def test_a_failure_replaces_an_older_failure(catalog: Catalog, root: Root) -> None:
    catalog.record([], [failure(root.id, "a.jpg", "old")])
    catalog.record([], [failure(root.id, "a.jpg", "new")])
    assert [each.reason for each in catalog.failures()] == ["new"]


def test_recording_nothing_changes_nothing(catalog: Catalog) -> None:
    catalog.record([])
    assert catalog.versions().rows == 0


def test_a_batch_is_recorded_wholly_or_not_at_all(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row(text="old"))])
    with pytest.raises(IntegrityError):
        catalog.record([photo(root.id, "a.jpg", row(text="new")), photo(999, "b.jpg")])
    assert texts(catalog, "a.jpg") == ["old"]
    assert catalog.graves_after("image", 0)[0].tolist() == []


def test_known_lists_items_and_failures_of_one_root(catalog: Catalog, root: Root) -> None:
    other = catalog.add_root(Path("/music"))
    catalog.record([photo(root.id, "a.jpg", companions="key"), photo(other.id, "x.jpg")], [failure(root.id, "b.jpg")])
    item = catalog.item_at(Path("/photos/a.jpg"))
    assert item is not None
    assert catalog.known(root.id) == {
        "a.jpg": Known(item.id, 10, 20, "key", "digest of a.jpg"),
        "b.jpg": Known(None, 1, 2, "", None),
    }


def test_touch_notes_new_stats_and_nothing_else(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row()), photo(root.id, "b.jpg")])
    before, version = catalog.known(root.id), catalog.versions().rows
    item_id = before["a.jpg"].item_id
    assert item_id is not None
    catalog.touch([(item_id, 11, 22)])
    assert catalog.known(root.id) == before | {"a.jpg": Known(item_id, 11, 22, "", "digest of a.jpg")}
    assert catalog.versions().rows == version


def test_touching_nothing_is_allowed(catalog: Catalog) -> None:
    catalog.touch([])


def test_forgotten_items_go_with_their_rows(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, f"{i}.jpg", row(seed=i), row("caption", i)) for i in range(3)])
    gone, kept = catalog.item_at(Path("/photos/1.jpg")), row_ids(catalog)
    assert gone is not None
    catalog.forget([gone.id, 12345])
    assert set(catalog.known(root.id)) == {"0.jpg", "2.jpg"}
    assert row_ids(catalog) == [kept[0], kept[2]]
    assert catalog.counts().rows == {"image": 2, "caption": 2}


def test_very_many_items_can_be_forgotten_at_once(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row())])
    catalog.forget(range(1, 40_000))
    assert catalog.known(root.id) == {}


def test_unembedding_leaves_every_item_stale_and_without_rows(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row()), photo(root.id, "b.jpg", row("caption"))], [failure(root.id, "c")])
    catalog.unembed()
    assert {path: (each.digest, each.mtime_ns) for path, each in catalog.known(root.id).items()} == {
        "a.jpg": ("", -1),
        "b.jpg": ("", -1),
        "c": (None, 2),
    }
    assert catalog.counts().rows == {}
    assert catalog.vectors(["image-0", "caption-0"]) == {}
    assert catalog.problems() == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/photos/a", ["a/1.jpg", "a/b/2.jpg"]),
        ("/photos/a/b", ["a/b/2.jpg"]),
        ("/photos/a/1.jpg", ["a/1.jpg"]),
        ("/photos", ["a-b.jpg", "a/1.jpg", "a/b/2.jpg", "a0/3.jpg"]),
        ("/", ["a-b.jpg", "a/1.jpg", "a/b/2.jpg", "a0/3.jpg"]),
        ("/photos/%", []),
        ("/elsewhere", []),
        ("/photos/a/1.jpg/x", []),
    ],
)
def test_items_under_a_path_are_those_at_and_below_it(
    catalog: Catalog, root: Root, path: str, expected: list[str]
) -> None:
    catalog.record([photo(root.id, each) for each in ("a/1.jpg", "a/b/2.jpg", "a-b.jpg", "a0/3.jpg")])
    assert sorted(item.path.relative_to("/photos").as_posix() for item in catalog.items_under(Path(path))) == expected


def test_items_under_a_path_may_have_names_that_are_not_unicode(catalog: Catalog, root: Root) -> None:
    strange = b"a/caf\xe9.jpg".decode("utf-8", "surrogateescape")
    folder = b"b\xff".decode("utf-8", "surrogateescape")
    names = ["a/1.jpg", strange, f"{folder}/2.jpg", f"{folder}/{strange}"]
    catalog.record([photo(root.id, each, digest="") for each in names])
    found = {path: {item.path for item in catalog.items_under(Path("/photos", path))} for path in ("a", folder)}
    assert found == {
        "a": {Path("/photos/a/1.jpg"), Path("/photos", strange)},
        folder: {Path("/photos", folder, "2.jpg"), Path("/photos", folder, strange)},
    }
    assert catalog.item_at(Path("/photos", strange)) is not None


def test_a_folder_is_no_item(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a/1.jpg")])
    assert catalog.item_at(Path("/photos/a")) is None
    assert catalog.item_at(Path("/photos")) is None


def test_the_root_of_the_file_system_can_be_a_root(catalog: Catalog) -> None:
    root = catalog.add_root(Path("/"))
    catalog.record([photo(root.id, "tmp/1.jpg")])
    assert [item.path for item in catalog.items_under(Path("/tmp"))] == [Path("/tmp/1.jpg")]


@pytest.fixture(scope="module")
def shared_catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    opened = Catalog.open(tmp_path_factory.mktemp("names") / "catalog.sqlite")
    yield opened
    opened.close()


@settings(max_examples=20, deadline=None)
@given(name=st.binary(min_size=1), reason=st.text(st.characters(codec="utf-8")))
def test_any_name_comes_back_as_it_was(shared_catalog: Catalog, name: bytes, reason: str) -> None:
    path = os.fsdecode(name)
    root = shared_catalog.add_root(Path("/photos"))
    shared_catalog.record([], [failure(root.id, path, reason)])
    shared_catalog.exclude(root.id, path)
    assert list(shared_catalog.known(root.id)) == [path]
    assert shared_catalog.excludes(root.id) == {path}
    assert [each.reason for each in shared_catalog.failures()] == [reason]
    shared_catalog.clear_failures(root.id, [path])
    shared_catalog.include(root.id, path)
    assert (shared_catalog.known(root.id), shared_catalog.excludes(root.id)) == ({}, set())


def test_a_failure_says_when_it_happened(catalog: Catalog, root: Root) -> None:
    catalog.record([], [failure(root.id, "a.jpg")])
    (found,) = catalog.failures()
    assert found == Failure(Path("/photos/a.jpg"), "it is empty", found.failed_at)
    assert found.failed_at.endswith("+00:00")
