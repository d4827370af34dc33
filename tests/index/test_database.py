"""How the catalogue's file is opened, and what its errors become."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import event
from tests.index.samples import photo, row

from mmsearch.index import migrations, schema, sqlite_file
from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import LibraryBusy, LibraryDamaged, LibraryNotFound, SchemaTooNew
from mmsearch.index.items import Root
from mmsearch.index.reader import Reader

Opened = type[Catalog] | type[Reader]


@pytest.fixture(params=[Catalog, Reader])
def opened(request: pytest.FixtureRequest) -> Opened:
    """What opens a catalogue, to write to it or to read it."""
    found: Opened = request.param
    return found


def test_a_missing_catalogue_is_made_only_if_wanted(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "catalog.sqlite"
    with pytest.raises(LibraryNotFound, match=re.escape(f"there is no library at {tmp_path};")):
        opened.open(path, create=False)
    assert not path.exists()
    opened.open(path).close()
    opened.open(path, create=False).close()


def test_an_empty_file_is_no_library_until_one_is_wanted(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "catalog.sqlite"
    path.touch()
    with pytest.raises(LibraryNotFound):
        opened.open(path, create=False)
    catalog = opened.open(path)
    assert catalog.roots() == []
    catalog.close()


@pytest.mark.parametrize("name", ["a?b#c%d.sqlite", "ж é.sqlite"])
def test_a_path_with_special_characters_is_one_file(tmp_path: Path, name: str, opened: Opened) -> None:
    Catalog.open(tmp_path / name).close()
    opened.open(tmp_path / name, create=False).close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_stored_outlives_closing(tmp_path: Path, opened: Opened) -> None:
    catalog = Catalog.open(tmp_path / "catalog.sqlite")
    catalog.add_root(Path("/photos"))
    catalog.close()
    catalog.close()
    again = opened.open(tmp_path / "catalog.sqlite", create=False)
    assert [root.path for root in again.roots()] == [Path("/photos")]
    again.close()


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"these are words, and no database at all" * 100)
    with pytest.raises(LibraryDamaged) as caught:
        opened.open(path)
    assert str(caught.value) == (
        f"the catalogue {path} cannot be read (file is not a database); run `mmsearch repair`, "
        "or restore it from a backup."
    )


def test_a_database_of_something_else_is_refused_untouched(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "catalog.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(LibraryDamaged, match="it is a database of something else"):
        opened.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [None, "one"])
def test_a_catalogue_without_a_version_is_damaged(tmp_path: Path, version: str | None, opened: Opened) -> None:
    catalog = Catalog.open(tmp_path / "catalog.sqlite")
    with catalog._writing() as connection:
        connection.execute(schema.meta.delete())
        if version:
            connection.execute(schema.meta.insert(), {"key": "schema_version", "value": version})
    catalog.close()
    with pytest.raises(LibraryDamaged, match="it does not say its schema version"):
        opened.open(tmp_path / "catalog.sqlite")


def test_overwritten_pages_are_damage_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog = Catalog.open(path)
    root = catalog.add_root(Path("/photos"))
    catalog.record([photo(root.id, f"{i}.jpg", row(seed=i, text="x" * 500)) for i in range(50)])
    catalog.compact()
    catalog.close()
    data = bytearray(path.read_bytes())
    data[4096 * 4 :] = os.urandom(len(data) - 4096 * 4)
    path.write_bytes(data)
    with pytest.raises(LibraryDamaged):
        for _ in Catalog.open(path).known(root.id):
            pass


def test_a_newer_catalogue_is_refused_untouched(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog = Catalog.open(path)
    catalog.set_meta(schema_version="77")
    catalog.close()
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew) as caught:
        opened.open(path)
    assert str(caught.value) == (
        f"the catalogue {path} has schema version 77, but this mmsearch knows only up to {migrations.known_version()}; "
        "upgrade with `pip install --upgrade mmsearch`."
    )
    assert path.read_bytes() == before


def test_an_older_catalogue_goes_through_every_step_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    path = tmp_path / "catalog.sqlite"
    monkeypatch.setattr(migrations, "MIGRATIONS", (("SELECT broken",),))
    Catalog.open(path).close()  # made in version 2, so that the first step is not taken again
    steps = (("SELECT broken",), ("CREATE TABLE b (x)", "INSERT INTO b VALUES (1)"), ("UPDATE b SET x = x + 1",))
    monkeypatch.setattr(migrations, "MIGRATIONS", steps)
    for _ in range(2):
        catalog = opened.open(path)
        assert catalog.meta("schema_version") == "4"
        with catalog._reading() as connection:
            assert connection.execute("SELECT x FROM b").fetchall() == [(2,)]
        catalog.close()


def test_a_step_that_fails_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "catalog.sqlite"
    monkeypatch.setattr(migrations, "MIGRATIONS", ())
    Catalog.open(path).close()
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (("CREATE TABLE b (x)", "INSERT INTO nowhere VALUES (1)"),))
        with pytest.raises(Exception, match="no such table: nowhere"):
            Catalog.open(path)
    catalog = Catalog.open(path)
    with catalog._reading() as connection:
        assert migrations.stored_version(connection, path) == 1
        assert ("b",) not in connection.execute("SELECT name FROM sqlite_master").fetchall()
    catalog.close()


def test_every_connection_keeps_foreign_keys_and_commits_and_wipes(catalog: Catalog) -> None:
    wanted = {"foreign_keys": 1, "synchronous": 2, "secure_delete": 1, "journal_mode": "wal"}
    found = []

    def look() -> None:
        found.append({name: catalog._alone(f"PRAGMA {name}")[0] for name in wanted})

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 3


def test_a_reader_sees_one_state_while_another_writes(catalog: Catalog, root: Root) -> None:
    with catalog._reading() as connection:
        assert connection.execute("SELECT id FROM items").fetchall() == []
        catalog.record([photo(root.id, "a.jpg")])
        assert connection.execute("SELECT id FROM items").fetchall() == []
    assert list(catalog.known(root.id)) == ["a.jpg"]


def test_a_failed_commit_keeps_nothing(catalog: Catalog, root: Root) -> None:
    def fail(connection: object) -> None:
        raise OSError(errno.EIO, "the medium is gone")

    event.listen(catalog._engine, "commit", fail)
    with pytest.raises(OSError, match="the medium is gone"):
        catalog.record([photo(root.id, "a.jpg", row())])
    event.remove(catalog._engine, "commit", fail)
    assert catalog.known(root.id) == {}
    catalog.record([photo(root.id, "b.jpg", row())])
    assert list(catalog.known(root.id)) == ["b.jpg"]


def test_a_full_disk_is_an_os_error_that_keeps_nothing(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row())])
    pages = catalog._alone("PRAGMA page_count")[0]
    catalog._alone(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OSError, match="No space left on device") as caught:
        catalog.record([photo(root.id, "b.jpg", row(text="x" * 100_000))])
    assert caught.value.errno == errno.ENOSPC
    assert list(catalog.known(root.id)) == ["a.jpg"]
    assert catalog.problems() == []


def test_a_writer_that_waits_too_long_hears_that_the_library_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.01)
    first, second = (Catalog.open(tmp_path / "catalog.sqlite") for _ in range(2))
    with first._writing(), pytest.raises(LibraryBusy, match="another process is indexing into"):
        second.set_meta(a="1")
    second.set_meta(a="1")
    first.close()
    second.close()


@pytest.mark.parametrize("log_is_left", [False, True])
def test_a_library_on_a_read_only_medium_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_is_left: bool, opened: Opened
) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog = Catalog.open(path)
    catalog.add_root(Path("/photos"))
    if not log_is_left:
        catalog.close()
    # What root may write to anyway: the answer of the system is what counts.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    reader = opened.open(path, create=False)
    assert [root.path for root in reader.roots()] == [Path("/photos")]
    with pytest.raises(OSError, match="Read-only file system"):
        reader.writer.set_meta(a="1")
    reader.close()
    if not log_is_left:
        assert [each.name for each in tmp_path.iterdir()] == ["catalog.sqlite"]
    catalog.close()


def test_many_threads_write_and_read_one_catalogue(catalog: Catalog, root: Root) -> None:
    def work(name: int) -> None:
        for i in range(10):
            catalog.record([photo(root.id, f"{name}/{i}.jpg", row(seed=i))])
            assert f"{name}/{i}.jpg" in catalog.known(root.id)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert catalog.counts().items == {"image": 40}
    assert catalog.versions().rows == 40
