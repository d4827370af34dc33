"""The catalogue as queries read it: the same answers as the writer gives, without what only writers need."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.index.samples import photo, row

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import LibraryDamaged
from mmsearch.index.items import Root
from mmsearch.index.reader import Reader

READS = """
import sys
from pathlib import Path
from mmsearch.index.reader import Reader
reader = Reader.open(Path(sys.argv[1]), create=False)
print([str(root.path) for root in reader.roots()], reader.versions().rows, "sqlalchemy" in sys.modules)
reader.writer.set_meta(a="1")
print(reader.meta("a"), "sqlalchemy" in sys.modules)
"""


@pytest.fixture
def reader(catalog: Catalog) -> Iterator[Reader]:
    opened = Reader.open(catalog.path, create=False)
    yield opened
    opened.close()


def test_reading_needs_no_sqlalchemy_and_writing_loads_it(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row())])
    done = subprocess.run([sys.executable, "-c", READS, catalog.path], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['/photos'] 1 False", "1 True"]


def test_a_reader_sees_what_is_committed_after_it_was_opened(catalog: Catalog, reader: Reader, root: Root) -> None:
    assert reader.versions().rows == 0
    catalog.record([photo(root.id, "a.jpg", row())])
    assert reader.versions().rows == 1
    found = reader.item_at(Path("/photos/a.jpg"))
    assert found == catalog.item_at(Path("/photos/a.jpg")) is not None


def test_a_question_sees_one_state_while_another_writes(catalog: Catalog, reader: Reader, root: Root) -> None:
    with reader._reading() as connection:
        assert connection.execute("SELECT count(*) FROM rows").fetchall() == [(0,)]
        catalog.record([photo(root.id, "a.jpg", row())])
        assert connection.execute("SELECT count(*) FROM rows").fetchall() == [(0,)]
    assert reader.versions().rows == 1


def test_many_questions_see_one_state_while_another_writes(catalog: Catalog, reader: Reader, root: Root) -> None:
    with reader.one_state(), reader.one_state():
        before = reader.versions(), reader.roots()
        catalog.record([photo(root.id, "a.jpg", row())])
        assert (reader.versions(), reader.roots()) == before
        assert reader.item_at(Path("/photos/a.jpg")) is None
        in_another = threading.Thread(target=lambda: seen.append(reader.versions().rows))
        seen: list[int] = []
        in_another.start()
        in_another.join()
        assert seen == [1]
    assert reader.versions().rows == 1
    assert reader.item_at(Path("/photos/a.jpg")) is not None


def test_a_state_is_asked_for_its_versions_once(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = Reader._ask

    def noting(self: Reader, query: str, values: Sequence[Any] = ()) -> list[Any]:
        asked.append(query)
        return ask(self, query, values)

    monkeypatch.setattr(Reader, "_ask", noting)
    with reader.one_state():
        assert reader.versions() == reader.versions()
    assert len(asked) == 1


def test_a_state_that_an_error_ends_is_let_go(catalog: Catalog, reader: Reader, root: Root) -> None:
    with pytest.raises(KeyError), reader.one_state():
        raise KeyError(reader.versions().rows)
    catalog.record([photo(root.id, "a.jpg", row())])
    assert reader.versions().rows == 1


def test_a_question_that_fails_does_not_hold_on_to_its_state(catalog: Catalog, reader: Reader, root: Root) -> None:
    with pytest.raises(LibraryDamaged), reader._reading() as connection:
        raise LibraryDamaged(path=catalog.path, detail=str(connection.execute("SELECT id FROM rows").fetchall()))
    catalog.record([photo(root.id, "a.jpg", row())])
    assert reader.versions().rows == 1


def test_the_writer_is_opened_once_and_closed_with_its_reader(reader: Reader) -> None:
    writer = reader.writer
    assert reader.writer is writer
    assert writer.writer is writer
    reader.close()
    assert reader.writer is not writer


def test_a_closed_reader_leaves_the_file_alone(tmp_path: Path, empty_catalog: Path) -> None:
    reader = Reader.open(empty_catalog, create=False)
    reader.roots()
    reader.close()
    reader.close()
    assert [each.name for each in empty_catalog.parent.iterdir()] == [empty_catalog.name]


def test_overwritten_pages_are_damage_when_they_are_read(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, f"{i}.jpg", row("caption", i, "x" * 500)) for i in range(50)])
    catalog.compact()
    catalog.close()
    data = bytearray(catalog.path.read_bytes())
    data[4096 * 4 :] = os.urandom(len(data) - 4096 * 4)
    catalog.path.write_bytes(data)
    with pytest.raises(LibraryDamaged, match="malformed"):
        Reader.open(catalog.path, create=False).rows_after("caption", 0, 100)


def test_many_threads_ask_while_one_writes(catalog: Catalog, reader: Reader, root: Root) -> None:
    seen: list[list[int]] = [[] for _ in range(4)]

    def ask(versions: list[int]) -> None:
        versions += [reader.versions().rows for _ in range(100)]

    threads = [threading.Thread(target=ask, args=(versions,)) for versions in seen]
    for thread in threads:
        thread.start()
    for number in range(10):
        catalog.record([photo(root.id, f"{number}.jpg", row(seed=number))])
    for thread in threads:
        thread.join()
    assert all(versions == sorted(versions) and len(versions) == 100 for versions in seen)
    assert reader.versions().rows == 10
