from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.index.samples import DIM, photo, row, row_ids, unit

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import LibraryDamaged
from mmsearch.index.items import ItemFilter, Kind, NewRow, Root
from mmsearch.index.rows import GravesGone


def ids(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def test_vectors_are_found_by_content(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row(seed=1), row("caption", 2)), photo(root.id, "copy.jpg", row(seed=1))])
    found = catalog.vectors(["image-1", "caption-2", "nowhere"])
    assert set(found) == {"image-1", "caption-2"}
    np.testing.assert_array_equal(found["image-1"], unit(1, 1)[0])
    assert found["image-1"].dtype == np.float16


def test_vectors_of_very_many_keys_can_be_asked_for(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row(seed=1))])
    assert list(catalog.vectors([*map(str, range(40_000)), "image-1"])) == ["image-1"]


def test_rows_after_an_id_come_in_order_and_in_parts(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, f"{i}.jpg", row(seed=i), row("caption", i)) for i in range(5)])
    first, vectors = catalog.rows_after("image", 0, 3)
    rest, _ = catalog.rows_after("image", int(first[-1]), 3)
    assert [*first, *rest] == row_ids(catalog) == sorted(row_ids(catalog))
    assert (str(first.dtype), str(vectors.dtype), vectors.shape) == ("int64", "float16", (3, DIM))
    np.testing.assert_array_equal(vectors, np.concatenate([unit(1, seed) for seed in range(3)]))


def test_no_rows_are_an_empty_array(catalog: Catalog) -> None:
    found, vectors = catalog.rows_after("text", 0, 10)
    assert (found.shape, vectors.shape) == ((0,), (0, 0))


def test_vectors_of_different_lengths_are_damage(catalog: Catalog, root: Root) -> None:
    short = NewRow("image", "short", unit(1, dim=3)[0].astype(np.float16))
    catalog.record([photo(root.id, "a.jpg", row()), photo(root.id, "b.jpg", short)])
    with pytest.raises(LibraryDamaged, match="it holds vectors of different lengths"):
        catalog.rows_after("image", 0, 10)


def test_row_ids_are_never_used_again(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row())])
    (old,) = row_ids(catalog)
    catalog.drop_root(root.id)
    catalog.compact()
    catalog.record([photo(catalog.add_root(Path("/new")).id, "a.jpg", row())])
    assert row_ids(catalog)[0] > old


def test_graves_name_removed_rows_of_a_view_since_a_number(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, f"{i}.jpg", row(seed=i), row("caption", i)) for i in range(3)])
    images, captions = row_ids(catalog), row_ids(catalog, "caption")
    catalog.record([photo(root.id, "0.jpg")])
    buried, first = catalog.graves_after("image", 0)
    assert buried.tolist() == [images[0]]
    catalog.record([photo(root.id, "2.jpg")])
    buried, second = catalog.graves_after("image", first)
    assert buried.tolist() == [images[2]]
    assert catalog.graves_after("caption", 0)[0].tolist() == [captions[0], captions[2]]
    none, last = catalog.graves_after("text", 0)
    assert (none.shape, last) == ((0,), second)
    assert catalog.graves_after("image", second)[0].tolist() == []


def test_a_removal_is_told_once(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row())])
    catalog.drop_root(root.id)
    buried, last = catalog.graves_after("image", 0)
    assert len(buried) == 1
    assert catalog.graves_after("image", last)[0].tolist() == []


def test_graves_that_were_cleared_away_are_not_passed_over_in_silence(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row())])
    catalog.drop_root(root.id)
    _, last = catalog.graves_after("image", 0)
    catalog.compact()
    with pytest.raises(GravesGone):
        catalog.graves_after("image", last - 1)
    assert catalog.graves_floor() == last
    assert catalog.graves_after("image", last)[0].shape == (0,)


@pytest.mark.parametrize("change", ["record", "replace", "forget", "drop_root", "unembed"])
def test_version_grows_whenever_rows_come_or_go(catalog: Catalog, root: Root, change: str) -> None:
    catalog.record([photo(root.id, "a.jpg", row())])
    item = catalog.item_at(Path("/photos/a.jpg"))
    assert item is not None
    before = catalog.versions().rows
    match change:
        case "record":
            catalog.record([photo(root.id, "b.jpg", row())])
        case "replace":
            catalog.record([photo(root.id, "a.jpg")])
        case "forget":
            catalog.forget([item.id])
        case "drop_root":
            catalog.drop_root(root.id)
        case "unembed":
            catalog.unembed()
    assert catalog.versions().rows > before


def test_version_stays_when_rows_do(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row())])
    before = catalog.versions().rows
    catalog.record([photo(root.id, "empty.jpg")])
    catalog.add_root(Path("/"))
    catalog.set_meta(a="1")
    catalog.compact()
    assert catalog.versions().rows == before


def test_describe_tells_of_rows_and_leaves_out_unknown_ones(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row("caption", 1, "a dog"), row("caption", 2, "a cat"))])
    first, second = row_ids(catalog, "caption")
    found = catalog.describe([second, 999, first])
    assert {id_: each.text for id_, each in found.items()} == {first: "a dog", second: "a cat"}
    assert found[first].item == catalog.item_at(Path("/photos/a.jpg"))


def test_facts_tell_of_rows_in_the_order_asked_for(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, name, row("caption", text="four"), row("text")) for name in ("a.jpg", "b.jpg")])
    catalog.note_hubness(ids(2, 4), np.array([0.5, 0.25], np.float32))
    a, b = (catalog.known(root.id)[name].item_id for name in ("a.jpg", "b.jpg"))
    facts = catalog.facts(ids(3, 999, 2))
    assert facts.owners.tolist() == [b, -1, a]
    assert facts.views[[0, 2]].tolist() == [1, 2]
    np.testing.assert_array_equal(facts.hubness, np.array([np.nan, np.nan, 0.5], np.float32))
    assert facts.characters.tolist() == [4, 0, 0]


def test_facts_of_no_rows_are_empty(catalog: Catalog) -> None:
    facts = catalog.facts(ids())
    assert facts.owners.shape == facts.views.shape == facts.hubness.shape == facts.characters.shape == (0,)
    assert [str(each.dtype) for each in (facts.owners, facts.hubness)] == ["int64", "float32"]


def test_rows_of_items_are_those_of_one_view(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, name, row(), row("caption"), row("caption", 1)) for name in ("a", "b", "c")])
    b, c = (catalog.known(root.id)[name].item_id or 0 for name in ("b", "c"))
    rows, owners = catalog.rows_of_items(ids(c, b, 999), "caption")
    assert rows.tolist() == row_ids(catalog, "caption")[2:]
    assert owners.tolist() == [b, b, c, c]
    empty, nobody = catalog.rows_of_items(ids(), "caption")
    assert (empty.shape, nobody.shape) == ((0,), (0,))


def chosen(catalog: Catalog, wanted: ItemFilter) -> list[str]:
    return [each.item.path.as_posix() for each in catalog.describe(catalog.select("image", wanted).tolist()).values()]


def test_an_open_filter_selects_every_row_of_the_view(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, f"{i}.jpg", row(), row("caption")) for i in range(3)])
    assert catalog.select("image", ItemFilter()).tolist() == row_ids(catalog)
    assert catalog.select("text", ItemFilter()).shape == (0,)


@pytest.mark.parametrize(("kinds", "expected"), [(("image",), "a"), (("text", "audio"), "bc"), (("audio",), "c")])
def test_kinds_filter(catalog: Catalog, root: Root, kinds: tuple[Kind, ...], expected: str) -> None:
    kind_of: dict[str, Kind] = {"a": "image", "b": "text", "c": "audio"}
    catalog.record([photo(root.id, name, row(), kind=kind) for name, kind in kind_of.items()])
    assert chosen(catalog, ItemFilter(kinds=kinds)) == [f"/photos/{name}" for name in expected]


@pytest.mark.parametrize(
    ("after", "before", "expected"),
    [
        ("2024", None, ["2024-01-01T00:00:00", "2024-06-01T10:00:00"]),
        (None, "2024", ["2023-12-31T23:59:59"]),
        ("2024-06-01T10:00:00", None, ["2024-06-01T10:00:00"]),
        (None, "2024-06-01T10:00:00", ["2023-12-31T23:59:59", "2024-01-01T00:00:00"]),
        ("2023-12-31", "2024-01-01", ["2023-12-31T23:59:59"]),
    ],
)
def test_dates_filter_from_after_up_to_but_not_with_before(
    catalog: Catalog, root: Root, after: str | None, before: str | None, expected: list[str]
) -> None:
    for taken_at in ("2023-12-31T23:59:59", "2024-01-01T00:00:00", "2024-06-01T10:00:00"):
        catalog.record([photo(root.id, taken_at, row(), taken_at=taken_at)])
    assert chosen(catalog, ItemFilter(after=after, before=before)) == [f"/photos/{each}" for each in expected]


@pytest.mark.parametrize(
    ("glob", "matches"),
    [
        ("*.jpg", True),
        ("rex.jpg", True),
        ("beach/*", True),
        ("/photos/2024/*", True),
        ("2024/*/rex.*", True),
        ("r?x.[jJ]pg", True),
        ("*", True),
        ("ex.jpg", False),
        ("each/*", False),
        ("*.JPG", False),
        ("[!r]ex.jpg", False),
        ("2024", False),
        ("photos", False),
        ("*%*", False),
    ],
)
def test_globs_match_the_path_or_what_follows_a_slash(catalog: Catalog, root: Root, glob: str, matches: bool) -> None:
    catalog.record([photo(root.id, "2024/beach/rex.jpg", row())])
    assert bool(chosen(catalog, ItemFilter(path_glob=glob))) is matches


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=6))
def test_catching_up_by_rows_and_graves_gives_the_rows_that_are_stored(
    tmp_path_factory: pytest.TempPathFactory, history: list[list[int]]
) -> None:
    catalog = Catalog.open(tmp_path_factory.mktemp("history") / "catalog.sqlite")
    root = catalog.add_root(Path("/photos"))
    held: set[int] = set()
    last_row = last_grave = 0
    for names in history:
        catalog.record([photo(root.id, str(name), row(), row()) for name in set(names)])
        if len(names) > 2:
            catalog.forget([item.id for item in catalog.items_under(Path(f"/photos/{names[0]}"))])
        fresh, _ = catalog.rows_after("image", last_row, 100)
        buried, last_grave = catalog.graves_after("image", last_grave)
        held = (held | set(fresh.tolist())) - set(buried.tolist())
        last_row = max([last_row, *fresh.tolist()])
        assert sorted(held) == row_ids(catalog)
    catalog.close()
