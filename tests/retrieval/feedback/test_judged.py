from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.index.samples import photo, row

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import BadManifest, UsageError
from mmsearch.retrieval.feedback import judged
from mmsearch.retrieval.feedback.judged import MIN_QUERIES, from_captions, from_feedback

COUNT = MIN_QUERIES + 5


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Photos that are there, and are captioned `stored N`."""
    opened = Catalog.open(tmp_path / "lib.sqlite")
    root = opened.add_root(tmp_path / "photos")
    root.path.mkdir()
    names = [f"{at:02d}.jpg" for at in range(COUNT)]
    for name in names:
        (root.path / name).touch()
    opened.record([photo(root.id, name, row("caption", at, f"stored {at}")) for at, name in enumerate(names)])
    yield opened
    opened.close()


def ids(catalog: Catalog) -> list[int]:
    (root,) = catalog.roots()
    return [known.item_id or 0 for _, known in sorted(catalog.known(root.id).items())]


def table(folder: Path, *lines: str, head: str = "path,caption") -> Path:
    path = folder / "captions.csv"
    path.write_text("\n".join([head, *lines]))
    return path


# -- feedback ----------------------------------------------------------------------------------------------------------


def test_queries_with_good_and_bad_answers_are_learned_from(catalog: Catalog) -> None:
    first, second, third, *_ = ids(catalog)
    for number in range(MIN_QUERIES):
        catalog.judge(f"dog {number}", {first: True, second: False, third: True})
    catalog.judge("2:cat + beach", {first: True, third: False})
    catalog.judge("no bad answer", {first: True})
    queries, left_out = from_feedback(catalog)
    assert left_out == ["1 queries have no good or no bad answer"]
    cat, dog, *_ = queries
    assert (cat.text, cat.group) == ("cat beach", "2:cat + beach")
    assert (dog.text, dog.relevant, dog.judged) == (
        "dog 0",
        frozenset([first, third]),
        frozenset([first, second, third]),
    )


def test_nothing_judged_is_nothing_to_learn_from(catalog: Catalog) -> None:
    with pytest.raises(UsageError) as caught:
        from_feedback(catalog)
    assert str(caught.value) == (
        "nothing was judged yet; say what fits a query with `mmsearch feedback QUERY --good PATH`."
    )


@pytest.mark.parametrize(("is_good", "known", "option"), [(True, "good", "--bad"), (False, "bad", "--good")])
def test_only_good_or_only_bad_answers_say_what_is_missing(
    catalog: Catalog, is_good: bool, known: str, option: str
) -> None:
    for number in range(MIN_QUERIES):
        catalog.judge(f"dog {number}", dict.fromkeys(ids(catalog)[:2], is_good))
    with pytest.raises(UsageError) as caught:
        from_feedback(catalog)
    assert str(caught.value) == (
        f"all that was judged is {known}; learning needs both, so judge some answers with {option}."
    )


def test_too_few_queries_say_how_many_are_needed(catalog: Catalog) -> None:
    first, second, *_ = ids(catalog)
    for number in range(MIN_QUERIES - 1):
        catalog.judge(f"dog {number}", {first: True, second: False})
    with pytest.raises(UsageError) as caught:
        from_feedback(catalog)
    assert str(caught.value) == (
        "learning needs 20 queries with a good and a bad answer each, and there are 19; judge more with "
        "`mmsearch feedback`."
    )


# -- captions ----------------------------------------------------------------------------------------------------------


def test_each_caption_of_an_item_is_a_query(catalog: Catalog, tmp_path: Path) -> None:
    lines = [f"{at:02d}.jpg,{kind} {at}" for at in range(COUNT) for kind in ("one", "two")]
    queries, left_out = from_captions(catalog, table(tmp_path, *lines))
    assert len(queries) == 2 * COUNT
    assert left_out == []
    assert (queries[3].text, queries[3].relevant, queries[3].judged) == ("two 1", frozenset([ids(catalog)[1]]), None)
    assert queries[2].group == queries[3].group == str(tmp_path / "photos" / "01.jpg")


def test_what_is_not_in_the_library_or_stored_there_is_left_out(catalog: Catalog, tmp_path: Path) -> None:
    lines = [f"{at:02d}.jpg,a caption" for at in range(COUNT)]
    queries, left_out = from_captions(catalog, table(tmp_path, *lines, "gone.jpg,x", "00.jpg,stored 0"))
    assert len(queries) == COUNT
    assert left_out == [
        "1 of its files are not in this library",
        "1 captions are what the library itself holds of their items",
    ]


def test_of_very_many_captions_some_are_drawn_by_seed(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "MAX_QUERIES", 7)
    path = table(tmp_path, *(f"{at:02d}.jpg,caption {at}" for at in range(COUNT)))
    drawn = [[query.text for query in from_captions(catalog, path, seed)[0]] for seed in (0, 0, 1)]
    assert len(drawn[0]) == 7
    assert drawn[0] == drawn[1] != drawn[2]


def test_too_few_captioned_items_say_why(catalog: Catalog, tmp_path: Path) -> None:
    lines = [*(f"{at:02d}.jpg,stored {at}" for at in range(COUNT)), "gone.jpg,x"]
    with pytest.raises(BadManifest) as caught:
        from_captions(catalog, path := table(tmp_path, *lines))
    assert str(caught.value) == (
        f"the caption file {path} cannot be used: learning needs captions of 20 items of the library; 1 of its files "
        "are not in this library; 25 captions are what the library itself holds of their items."
    )


def test_missing_columns_are_named(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="it lacks the column caption"):
        from_captions(catalog, table(tmp_path, "00.jpg,red", head="path,colour"))
