from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tests.index.samples import caption, failure, photo, row, row_ids

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import RootNotFound, UsageError
from mmsearch.index.items import Root


def test_a_new_root_is_listed(catalog: Catalog) -> None:
    made = catalog.add_root(Path("/photos"))
    assert catalog.roots() == [made] == [Root(made.id, Path("/photos"))]


@pytest.mark.parametrize("inside", ["/photos", "/photos/2024/may"])
def test_a_folder_in_a_root_belongs_to_it(catalog: Catalog, root: Root, inside: str) -> None:
    assert catalog.add_root(Path(inside)) == root
    assert catalog.roots() == [root]


def test_a_folder_whose_name_begins_like_a_root_is_another(catalog: Catalog, root: Root) -> None:
    assert catalog.add_root(Path("/photos2")) != root


def test_a_root_takes_in_the_roots_inside_it(catalog: Catalog) -> None:
    inner, other = catalog.add_root(Path("/home/a/photos")), catalog.add_root(Path("/home/b"))
    apart = catalog.add_root(Path("/mnt"))
    catalog.record(
        [photo(inner.id, "x.jpg", row(seed=1)), photo(other.id, "x.jpg", row(seed=2)), photo(apart.id, "x.jpg", row())],
        [failure(inner.id, "bad\udce9.jpg")],
    )
    catalog.exclude(inner.id, "secret\udce9")
    catalog.exclude(other.id, "")
    catalog.set_captions(inner.id, "c.csv", [("x.jpg", caption("one")), ("x.jpg", caption("two"))])
    rows = row_ids(catalog)

    outer = catalog.add_root(Path("/home"))

    assert catalog.roots() == [outer, apart]
    assert set(catalog.known(outer.id)) == {"a/photos/x.jpg", "b/x.jpg", "a/photos/bad\udce9.jpg"}
    assert set(catalog.known(apart.id)) == {"x.jpg"}
    assert catalog.excludes(outer.id) == {"a/photos/secret\udce9", "b"}
    assert catalog.captions(outer.id) == {"a/photos/x.jpg": (caption("one"), caption("two"))}
    assert row_ids(catalog) == rows
    assert catalog.problems() == []


def test_a_moved_root_keeps_its_items(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "x.jpg")])
    moved = catalog.move_root(Path("/photos"), Path("/mnt/disk"))
    assert catalog.roots() == [moved] == [Root(root.id, Path("/mnt/disk"))]
    assert catalog.item_at(Path("/photos/x.jpg")) is None
    found = catalog.item_at(Path("/mnt/disk/x.jpg"))
    assert found is not None
    assert found.path == Path("/mnt/disk/x.jpg")


@pytest.mark.parametrize("new", ["/photos/2024", "/"])
def test_a_root_can_move_into_or_above_its_own_place(catalog: Catalog, root: Root, new: str) -> None:
    assert catalog.move_root(root.path, Path(new)).path == Path(new)


def test_moving_what_is_no_root_names_the_roots(catalog: Catalog, root: Root) -> None:
    with pytest.raises(RootNotFound) as caught:
        catalog.move_root(Path("/music"), Path("/mnt"))
    assert str(caught.value) == "/music is not a root of this library; its roots are: /photos."


@pytest.mark.parametrize("new", ["/music", "/music/old", "/"])
def test_a_root_cannot_move_onto_another(catalog: Catalog, root: Root, new: str) -> None:
    catalog.add_root(Path("/music"))
    expected = (
        f"/photos cannot become {new}, which overlaps the root /music; forget one of them with `mmsearch forget`."
    )
    with pytest.raises(UsageError, match=re.escape(expected)):
        catalog.move_root(Path("/photos"), Path(new))


def test_a_dropped_root_takes_everything_with_it(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "x.jpg", row())], [failure(root.id, "y.jpg")])
    catalog.exclude(root.id, "z.jpg")
    catalog.set_captions(root.id, "c.csv", [("x.jpg", caption("one"))])
    buried = row_ids(catalog)
    catalog.drop_root(root.id)
    assert catalog.roots() == []
    assert (catalog.known(root.id), catalog.excludes(root.id), catalog.captions(root.id)) == ({}, set(), {})
    assert catalog.graves_after("image", 0)[0].tolist() == buried
    assert catalog.problems() == []


def test_a_root_whose_name_is_not_utf8_comes_back_the_same(catalog: Catalog) -> None:
    path = Path(os.fsdecode(b"/ph\xe9tos"))
    root = catalog.add_root(path)
    catalog.record([photo(root.id, "x.jpg")])
    assert catalog.roots() == [root]
    assert [item.path for item in catalog.items_under(path)] == [path / "x.jpg"]
