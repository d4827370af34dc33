from __future__ import annotations

from pathlib import Path

import pytest
from tests.index.samples import caption, failure

from mmsearch.index.catalog import Catalog
from mmsearch.index.items import Root


def test_failures_are_listed_by_path(catalog: Catalog, root: Root) -> None:
    other = catalog.add_root(Path("/music"))
    catalog.record([], [failure(root.id, "b.jpg"), failure(root.id, "a.jpg"), failure(other.id, "z.mp3")])
    assert [str(each.path) for each in catalog.failures()] == ["/music/z.mp3", "/photos/a.jpg", "/photos/b.jpg"]


@pytest.mark.parametrize(
    ("paths", "left"), [(["a"], ["b", "c"]), (["a", "b", "nowhere"], ["c"]), ([], ["a", "b", "c"]), (None, [])]
)
def test_failures_of_paths_or_of_all_are_cleared(
    catalog: Catalog, root: Root, paths: list[str] | None, left: list[str]
) -> None:
    other = catalog.add_root(Path("/music"))
    catalog.record([], [failure(root.id, name) for name in "abc"] + [failure(other.id, "a")])
    catalog.clear_failures(root.id, paths)
    assert sorted(catalog.known(root.id)) == left
    assert list(catalog.known(other.id)) == ["a"]


def test_excluded_paths_stay_until_they_are_included(catalog: Catalog, root: Root) -> None:
    for path in ("a", "b", "a"):
        catalog.exclude(root.id, path)
    assert catalog.excludes(root.id) == {"a", "b"}
    catalog.include(root.id, "a")
    catalog.include(root.id, "never")
    assert catalog.excludes(root.id) == {"b"}


def test_captions_keep_their_order_and_times(catalog: Catalog, root: Root) -> None:
    given = [("b.jpg", caption("two")), ("a.jpg", caption("x", start_s=0.5, end_s=1.5)), ("b.jpg", caption("one"))]
    catalog.set_captions(root.id, "c.csv", given)
    assert catalog.captions(root.id) == {
        "a.jpg": (caption("x", start_s=0.5, end_s=1.5),),
        "b.jpg": (caption("two"), caption("one")),
    }


def test_captions_of_a_manifest_replace_what_it_gave_before(catalog: Catalog, root: Root) -> None:
    catalog.set_captions(root.id, "1.csv", [("a.jpg", caption("old")), ("b.jpg", caption("gone"))])
    catalog.set_captions(root.id, "2.csv", [("a.jpg", caption("other"))])
    catalog.set_captions(root.id, "1.csv", [("a.jpg", caption("new"))])
    assert catalog.captions(root.id) == {"a.jpg": (caption("new"), caption("other"))}
    catalog.set_captions(root.id, "1.csv", [])
    assert catalog.captions(root.id) == {"a.jpg": (caption("other"),)}


def test_meta_values_are_replaced_together(catalog: Catalog) -> None:
    assert catalog.meta("model") is None
    catalog.set_meta(model="a", dim="16")
    catalog.set_meta(model="b")
    assert (catalog.meta("model"), catalog.meta("dim")) == ("b", "16")
