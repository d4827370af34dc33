from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.index.samples import bytes_in, failure, photo, row

from mmsearch.index import migrations
from mmsearch.index.catalog import Catalog
from mmsearch.index.items import Root


@pytest.fixture
def ids(catalog: Catalog, root: Root) -> dict[str, int]:
    """The ids of three photos."""
    catalog.record([photo(root.id, f"{name}.jpg", row(seed=i)) for i, name in enumerate("abc")])
    return {Path(path).stem: known.item_id or 0 for path, known in catalog.known(root.id).items()}


def noted(catalog: Catalog) -> list[tuple[str, str, bool]]:
    return [(each.query, each.path.as_posix(), each.is_good) for each in catalog.judgements()]


def test_judgements_are_listed_by_query_and_path(catalog: Catalog, ids: dict[str, int]) -> None:
    assert catalog.judge("a dog", {ids["c"]: True, ids["a"]: False}) == []
    assert catalog.judge("a cat", {ids["b"]: True}) == []
    assert noted(catalog) == [
        ("a cat", "/photos/b.jpg", True),
        ("a dog", "/photos/a.jpg", False),
        ("a dog", "/photos/c.jpg", True),
    ]


def test_a_judgement_says_when_it_was_made(catalog: Catalog, ids: dict[str, int]) -> None:
    catalog.judge("a dog", {ids["a"]: True})
    (made,) = catalog.judgements()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", made.judged_at)
    assert made.item_id == ids["a"]


def test_a_later_judgement_takes_the_place_of_an_earlier_one(catalog: Catalog, ids: dict[str, int]) -> None:
    catalog.judge("a dog", {ids["a"]: True, ids["b"]: True})
    catalog.judge("a cat", {ids["c"]: True})
    assert catalog.judge("a dog", {ids["a"]: False, ids["b"]: True, ids["c"]: False}) == [Path("/photos/a.jpg")]
    assert noted(catalog)[1:] == [
        ("a dog", "/photos/a.jpg", False),
        ("a dog", "/photos/b.jpg", True),
        ("a dog", "/photos/c.jpg", False),
    ]


def test_an_item_that_is_not_stored_is_passed_over(catalog: Catalog, ids: dict[str, int]) -> None:
    assert catalog.judge("a dog", {max(ids.values()) + 1: True}) == []
    assert catalog.judgements() == []


def test_a_file_that_is_read_again_stays_judged(catalog: Catalog, root: Root, ids: dict[str, int]) -> None:
    catalog.judge("a dog", {ids["a"]: True})
    catalog.record([photo(root.id, "a.jpg", row(seed=9))])
    catalog.prune_judgements()
    (kept,) = catalog.judgements()
    assert (kept.path, kept.item_id) == (Path("/photos/a.jpg"), catalog.known(root.id)["a.jpg"].item_id)


def test_a_file_that_cannot_be_read_for_a_while_stays_judged(catalog: Catalog, root: Root, ids: dict[str, int]) -> None:
    catalog.judge("a dog", {ids["a"]: True})
    catalog.record([], [failure(root.id, "a.jpg")])
    catalog.prune_judgements()
    assert catalog.judgements() == []
    catalog.record([photo(root.id, "a.jpg", row(seed=9))])
    assert noted(catalog) == [("a dog", "/photos/a.jpg", True)]


def test_judgements_move_with_their_root(catalog: Catalog, ids: dict[str, int]) -> None:
    catalog.judge("a dog", {ids["a"]: True})
    catalog.move_root(Path("/photos"), Path("/pictures"))
    assert noted(catalog) == [("a dog", "/pictures/a.jpg", True)]
    catalog.add_root(Path("/"))
    assert noted(catalog) == [("a dog", "/pictures/a.jpg", True)]


def test_forgotten_items_take_their_judgements_with_them(catalog: Catalog, root: Root, ids: dict[str, int]) -> None:
    catalog.judge("a dog", {ids["a"]: True, ids["b"]: True})
    catalog.forget([ids["a"]])
    catalog.prune_judgements()
    catalog.record([photo(root.id, "a.jpg", row(seed=9))])
    assert noted(catalog) == [("a dog", "/photos/b.jpg", True)]


def test_a_dropped_root_takes_its_judgements_with_it(catalog: Catalog, root: Root, ids: dict[str, int]) -> None:
    catalog.judge("a dog", {ids["a"]: True})
    catalog.drop_root(root.id)
    catalog.record([photo(catalog.add_root(root.path).id, "a.jpg", row())])
    assert catalog.judgements() == []


@pytest.mark.parametrize(("query", "count", "left"), [("a dog", 2, ["a cat"]), (None, 3, []), ("a cow", 0, None)])
def test_the_judgements_of_a_query_or_of_all_are_cleared(
    catalog: Catalog, ids: dict[str, int], query: str | None, count: int, left: list[str] | None
) -> None:
    catalog.judge("a dog", {ids["a"]: True, ids["b"]: False})
    catalog.judge("a cat", {ids["b"]: True})
    assert catalog.clear_judgements(query) == count
    assert [each.query for each in catalog.judgements()] == (["a cat", "a dog", "a dog"] if left is None else left)


def test_cleared_judgements_leave_the_disk(catalog: Catalog, ids: dict[str, int]) -> None:
    for number in range(20):
        catalog.judge(f"a secret wish {number} " + "x" * 4000, {ids["a"]: True, ids["b"]: False})
    assert b"secret wish" in bytes_in(catalog.path.parent)
    catalog.clear_judgements()
    assert b"secret wish" not in bytes_in(catalog.path.parent)
    # Pages that were rearranged may keep copies; only VACUUM takes away what is free.
    assert catalog._alone("PRAGMA freelist_count") == [0]


def test_an_older_catalogue_gets_the_same_table_as_a_new_one(catalog: Catalog) -> None:
    def columns() -> list[object]:
        with catalog._reading() as connection:
            table = connection.execute("PRAGMA table_info(judgements)").fetchall()
            return [*table, *connection.execute("PRAGMA foreign_key_list(judgements)").fetchall()]

    new = columns()
    catalog._alone("DROP TABLE judgements")
    for statement in migrations.MIGRATIONS[0]:
        catalog._alone(statement)
    assert columns() == new != []
