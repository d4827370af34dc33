"""What the index of words finds, how it scores, and that it is always that of the catalogue."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlalchemy.exc import IntegrityError
from tests.index.samples import bytes_in, photo, row, row_ids

from mmsearch.index import lexicon as lexicons
from mmsearch.index import words
from mmsearch.index.catalog import Catalog
from mmsearch.index.items import NewItem, Root
from mmsearch.index.lexicon import Lexicon, bm25
from mmsearch.index.reader import Reader

Ids = NDArray[np.int64]


def ids(*values: int) -> Ids:
    return np.array(values, np.int64)


def captioned(root: Root, *captions: str) -> list[NewItem]:
    return [photo(root.id, f"{i}.jpg", row(), row("caption", i, text)) for i, text in enumerate(captions)]


def found(catalog: Catalog, query: str) -> set[str]:
    rows = Lexicon(catalog).texts(query).ids.tolist()
    return {stored.text for stored in catalog.describe(rows).values()}


def named(catalog: Catalog, root: Root, query: str) -> set[str]:
    wanted = set(Lexicon(catalog).names(query).ids.tolist())
    return {path for path, known in catalog.known(root.id).items() if known.item_id in wanted}


@pytest.mark.parametrize("query", ["dog", "DOGS", "a dog!", "the dog-house", "dóg", "do\u0301g"])
def test_a_word_is_found_in_all_its_forms(catalog: Catalog, root: Root, query: str) -> None:
    catalog.record(captioned(root, "two Dogs run", "a cat", "cats and a dog"))
    assert found(catalog, query) == {"two Dogs run", "cats and a dog"}


@pytest.mark.parametrize("query", ["", "  ", "!?", '"', "_", "*"])
def test_a_query_without_words_finds_nothing(catalog: Catalog, root: Root, query: str) -> None:
    catalog.record(captioned(root, "a dog"))
    assert found(catalog, query) == set()
    assert named(catalog, root, query) == set()


@pytest.mark.parametrize(
    "query", ['dog" OR "cat', "NOT dog", "dog*", "text:dog", "NEAR(dog cat)", "^dog", "dog AND", "(dog", "{dog", "'dog"]
)
def test_what_looks_like_syntax_is_words(catalog: Catalog, root: Root, query: str) -> None:
    catalog.record(captioned(root, "a dog", "a house"))
    assert found(catalog, query) == {"a dog"}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=20))
def test_any_query_can_be_asked(catalog: Catalog, query: str) -> None:
    matches = Lexicon(catalog).texts(query)
    assert matches.ids.tolist() == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.characters(categories=("L", "N"), max_codepoint=0x24F), min_size=1, max_size=8))
def test_a_text_is_found_by_itself(catalog: Catalog, root: Root, text: str) -> None:
    catalog.record(captioned(root, text))
    assert len(Lexicon(catalog).texts(text).ids) == 1


def test_stop_words_count_only_where_there_are_no_others(catalog: Catalog, root: Root) -> None:
    catalog.record(captioned(root, "it is the end", "the dog"))
    assert found(catalog, "the dog") == {"the dog"}
    assert found(catalog, "it is the") == {"it is the end", "the dog"}


@pytest.mark.parametrize("query", ["beach", "2019", "rex", "sunset", "summer"])
def test_names_are_paths_titles_and_keywords(catalog: Catalog, root: Root, query: str) -> None:
    metadata = {"title": "The sunset", "keywords": ["summer", "sea"], "camera": "Leica", "latitude": float("nan")}
    catalog.record(
        [
            photo(root.id, "Beach_2019/rex.jpg", metadata={**metadata, "latitude": 5}),
            photo(root.id, "other.jpg"),
            photo(root.id, "odd.jpg", metadata=metadata),
        ]
    )
    assert "Beach_2019/rex.jpg" in named(catalog, root, query)
    assert "other.jpg" not in named(catalog, root, query)
    assert named(catalog, root, "leica") == set()


def test_a_path_that_is_not_unicode_has_words(catalog: Catalog, root: Root) -> None:
    path = b"beach/caf\xe9.jpg".decode("utf-8", "surrogateescape")
    catalog.record([photo(root.id, path, row(), digest="")])
    assert named(catalog, root, "beach") == {path}


def change_nothing(catalog: Catalog, root: Root) -> None: ...


def replace(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "0.jpg", row("caption", 9, "a horse"))])


def forget(catalog: Catalog, root: Root) -> None:
    catalog.forget([item.id for item in catalog.items_under(Path("/photos/0.jpg"))])


def drop(catalog: Catalog, root: Root) -> None:
    catalog.drop_root(root.id)


def unembed(catalog: Catalog, root: Root) -> None:
    catalog.unembed()


def absorb(catalog: Catalog, root: Root) -> None:
    catalog.add_root(Path("/"))


def compact(catalog: Catalog, root: Root) -> None:
    forget(catalog, root)
    catalog.compact()


def refuse(catalog: Catalog, root: Root) -> None:
    with pytest.raises(IntegrityError):
        catalog.record([photo(root.id, "new.jpg", row("caption", 9, "a horse")), photo(77, "bad.jpg")])


@pytest.mark.parametrize("change", [change_nothing, replace, forget, drop, unembed, absorb, compact, refuse])
def test_the_index_of_words_is_always_that_of_the_catalogue(
    catalog: Catalog, root: Root, change: Callable[[Catalog, Root], None]
) -> None:
    catalog.record(captioned(root, "a dog", "a cat", "a dog and a cat"))
    lexicon = Lexicon(catalog)
    lexicon.texts("dog")
    change(catalog, root)
    with catalog._reading() as connection:
        assert words.faults(connection) == []
    stored = {id_: each.text for id_, each in catalog.describe(row_ids(catalog, "caption")).items()}
    for word in ("dog", "cat", "horse"):
        assert lexicon.texts(word).ids.tolist() == [id_ for id_, text in stored.items() if word in text]
    for indexed in words.INDEXED:
        catalog._alone(f"INSERT INTO {indexed} ({indexed}, rank) VALUES ('integrity-check', 1)")


def test_a_folder_that_becomes_part_of_a_root_gives_its_name(catalog: Catalog, root: Root) -> None:
    catalog.record(captioned(root, "a dog"))
    lexicon = Lexicon(catalog)
    assert lexicon.names("photos").ids.tolist() == []
    catalog.add_root(Path("/"))
    assert len(lexicon.names("photos").ids) == 1


def test_weights_are_inverse_document_frequencies(catalog: Catalog, root: Root) -> None:
    catalog.record(captioned(root, "a dog", "a cat", "dog and cat", "a dog runs"))
    matches = Lexicon(catalog).texts("dog cat")
    dog, cat = math.log(1 + 1.5 / 3.5), math.log(1 + 2.5 / 2.5)
    np.testing.assert_allclose(matches.at(matches.ids), [dog, cat, dog + cat, dog], rtol=1e-6)


def test_bm25_follows_its_formula() -> None:
    # k1 = 1.2, b = 0.75: a text of usual length counts as it is, a longer one less.
    expected = [2.0, 2.0 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2)), 0.0]
    np.testing.assert_allclose(bm25(np.array([2, 2, 0], np.float32), ids(52, 104, 10)), expected, rtol=1e-6)


def test_lists_are_asked_for_once_until_the_catalogue_changes(
    catalog: Catalog, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.record(captioned(root, "a dog"))
    asked = []
    with_words = catalog.with_words

    def noted(indexed: words.Indexed, these: Sequence[str]) -> list[Ids]:
        asked.append((indexed, *these))
        return with_words(indexed, these)

    monkeypatch.setattr(catalog, "with_words", noted)
    lexicon = Lexicon(catalog)
    for _ in range(2):
        lexicon.texts("dog dog")
    assert asked == [("texts", "dog")]
    catalog.record([photo(root.id, "b.jpg", row("caption", 1, "my dog"))])
    assert len(lexicon.texts("dog").ids) == 2


def test_what_is_kept_is_bounded(catalog: Catalog, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = ["a dog", "a cat", "dog and cat", "a red dog"]
    catalog.record(captioned(root, *captions))
    monkeypatch.setattr(lexicons, "_KEPT_BYTES", 2)  # a bit for each row: two words
    lexicon = Lexicon(catalog)
    for query in ("dog cat red", "red", "cat", "dog red"):
        assert found(catalog, query) == {text for text in captions if set(text.split()) & set(query.split())}
        assert lexicon.texts(query).ids.tolist() == Lexicon(catalog).texts(query).ids.tolist()
        assert len(lexicon._kept) <= max(2, len(query.split()))


def test_a_state_that_is_held_on_to_keeps_its_words(catalog: Catalog, root: Root) -> None:
    catalog.record(captioned(root, "a dog"))
    reader = Reader.open(catalog.path, create=False)
    lexicon = Lexicon(reader)
    with reader.one_state():
        assert len(lexicon.texts("dog").ids) == 1
        catalog.record([photo(root.id, "b.jpg", row("caption", 1, "my dog"))])
        assert len(lexicon.texts("dog").ids) == 1
    assert len(lexicon.texts("dog").ids) == 2
    reader.close()


def test_compaction_takes_removed_words_off_the_disk(catalog: Catalog, root: Root, tmp_path: Path) -> None:
    harmless = [photo(root.id, f"{i}.jpg", row(), row("caption", i, f"harmless{i} " * 20)) for i in range(40)]
    catalog.record(harmless)
    catalog.record(
        [photo(root.id, "hideaway.jpg", row(), row("caption", 77, "the smugglers")), photo(root.id, "nook.wav")]
    )
    traces = [b"smuggler", b"hideaway", b"nook"]  # as the index of words has them
    assert all(trace in bytes_in(tmp_path) for trace in traces)
    for name in ("hideaway.jpg", "nook.wav"):  # the second has no rows: only its name can betray it
        catalog.forget([item.id for item in catalog.items_under(root.path / name)])
        catalog.compact()
    on_disk = bytes_in(tmp_path)
    assert [trace for trace in traces if trace in on_disk] == []
    assert b"harmless39" in on_disk
    assert catalog.problems() == []


def test_an_old_library_gets_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog = Catalog.open(path)
    root = catalog.add_root(Path("/photos"))
    catalog.record(captioned(root, "a dog", "a cat"))
    catalog.close()
    with sqlite3.connect(path) as old:  # as it was in version 2
        for kind, name in old.execute(
            "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view')"
        ).fetchall():
            if name != "bury_row":
                old.execute(f"DROP {kind} {name}")
        old.execute("DROP TABLE texts")
        old.execute("DROP TABLE names")
        old.execute("DROP INDEX rows_unmeasured")
        old.execute("ALTER TABLE rows DROP COLUMN hubness")
        old.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'")
    old.close()
    again = Catalog.open(path)
    assert found(again, "dog") == {"a dog"}
    assert named(again, root, "jpg") == {"0.jpg", "1.jpg"}
    assert again.problems() == []
    again.close()


@pytest.mark.parametrize("indexed", words.INDEXED)
def test_a_lost_index_of_words_is_found_and_made_anew(catalog: Catalog, root: Root, indexed: words.Indexed) -> None:
    catalog.record(captioned(root, "a dog"))
    catalog._alone(f"INSERT INTO {indexed} ({indexed}) VALUES ('delete-all')")
    assert catalog.problems() == [f"the index of words over {indexed} is not that of the catalogue"]
    assert catalog.mend() == ["the index of words was made anew"]
    assert catalog.problems() == []
    assert found(catalog, "dog") == {"a dog"}
