"""Every write, sync, rename, statement and commit of a run fails once, and then for good: nothing may be lost.

A run records a batch, saves the indexes and compacts. After each failure the library is opened afresh, as
the next process would, and must hold what was committed, answer exactly, and end up like an undisturbed one
when the run is made again.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from sqlalchemy import event
from tests.index.samples import DIM, assert_level, bytes_in, failure, photo, row

from mmsearch.index import durable
from mmsearch.index.catalog import Catalog
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import NewItem

# Which operations fail: every ninth, or with MMSEARCH_THOROUGH=1 each of them, which takes nine times as long.
STRIDE = 1 if os.environ.get("MMSEARCH_THOROUGH") else 9

SECRET = row("caption", 77, "a word to be forgotten")
TRACES = (b"to be forgotten", SECRET.vector.tobytes(), row(seed=78).vector.tobytes())


class Faults:
    """Counts the operations of a run and fails the one numbered `at`, or all from there on."""

    def __init__(self, at: int, lasting: bool) -> None:
        self.at = at
        self.lasting = lasting
        self.done = 0

    def step(self, *_: Any) -> None:
        number, self.done = self.done, self.done + 1
        if number == self.at or (self.lasting and number > self.at):
            raise OSError(errno.ENOSPC, "No space left on device")

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*args: Any, **kwargs: Any) -> Any:
            self.step()
            return call(*args, **kwargs)

        return failing


class FailingFile:
    """A file whose writes fail half-way."""

    def __init__(self, file: BinaryIO, faults: Faults) -> None:
        self._file = file
        self._faults = faults

    def write(self, data: bytes) -> int:
        try:
            self._faults.step()
        except OSError:
            self._file.write(data[: len(data) // 2])
            raise
        return self._file.write(data)


@contextmanager
def failing(faults: Faults, catalog: Catalog) -> Iterator[None]:
    replace_file = durable.replace_file

    def replace_failing(path: Path, write: Callable[[Any], object]) -> None:
        faults.step()
        replace_file(path, lambda file: write(FailingFile(file, faults)))

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "replace", "unlink", "mkdir"):
            patch.setattr(os, name, faults.before(getattr(os, name)))
        patch.setattr("mmsearch.index.segments.replace_file", replace_failing)
        patch.setattr(catalog, "_connection", faults.before(catalog._connection))
        for moment in ("commit", "before_cursor_execute"):
            event.listen(catalog._engine, moment, faults.step)
        try:
            yield
        finally:
            for moment in ("commit", "before_cursor_execute"):
                event.remove(catalog._engine, moment, faults.step)


def batch(root_id: int) -> list[NewItem]:
    changed = photo(root_id, "1.jpg", row(seed=101), row("caption", 102, "new"))
    return [changed, photo(root_id, "new.jpg", row(seed=103))]


def run(catalog: Catalog, folder: Path, root_id: int) -> None:
    """What a run of indexing does to the storage."""
    indexes = Indexes(catalog, folder, DIM)
    catalog.record(batch(root_id), [failure(root_id, "2.jpg")])
    catalog.forget([item.id for item in catalog.items_under(Path("/photos/secret.jpg"))])
    indexes.save()
    catalog.compact()


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library before the run."""
    folder = tmp_path_factory.mktemp("before")
    catalog = Catalog.open(folder / "catalog.sqlite")
    root = catalog.add_root(Path("/photos"))
    items = [photo(root.id, f"{i}.jpg", row(seed=i), row("caption", 10 + i, f"text {i}")) for i in range(4)]
    catalog.record([*items, photo(root.id, "secret.jpg", row(seed=78), SECRET)])
    Indexes(catalog, folder / "vectors", DIM).save()
    catalog.compact()
    catalog.close()
    return folder


def contents(catalog: Catalog) -> dict[str, list[tuple[str, str, bytes]]]:
    """What a library holds, by path, free of ids."""
    held: dict[str, list[tuple[str, str, bytes]]] = {
        str(item.path): [(stored.view, stored.text, vector.tobytes()) for stored, vector in catalog.rows_of(item.id)]
        for item in catalog.items_under(Path("/"))
    }
    return held | {str(each.path): [("failure", each.reason, b"")] for each in catalog.failures()}


@pytest.fixture(scope="module")
def states(before: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The contents after each transaction of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed") / "library"
    shutil.copytree(before, folder)
    catalog = Catalog.open(folder / "catalog.sqlite")
    (root,) = catalog.roots()
    found = [contents(catalog)]
    catalog.record(batch(root.id), [failure(root.id, "2.jpg")])
    found.append(contents(catalog))
    run(catalog, folder / "vectors", root.id)
    found.append(contents(catalog))
    catalog.close()
    return found


def attempt(folder: Path, faults: Faults) -> None:
    """Make a run among faults, which may end it."""
    catalog = Catalog.open(folder / "catalog.sqlite")
    (root,) = catalog.roots()
    with suppress(OSError), failing(faults, catalog):
        run(catalog, folder / "vectors", root.id)
    catalog.close()


def check(folder: Path, states: list[dict[str, Any]]) -> None:
    """The library holds one of the states, answers exactly, and takes up the run again."""
    catalog = Catalog.open(folder / "catalog.sqlite", create=False)
    try:
        (root,) = catalog.roots()
        assert catalog.problems() == []
        assert contents(catalog) in states
        indexes = Indexes(catalog, folder / "vectors", DIM)
        assert_level(catalog, indexes)
        indexes.rebuild()
        assert indexes.problems() == []
        run(catalog, folder / "vectors", root.id)
        assert contents(catalog) == states[-1]
        fresh = Indexes(catalog, folder / "vectors", DIM)
        assert catalog.problems() + fresh.problems() == []
        assert_level(catalog, fresh)
    finally:
        catalog.close()
    assert not [trace for trace in TRACES if trace in bytes_in(folder)]


@pytest.mark.parametrize(("first", "lasting"), [(0, False), (STRIDE // 2, True)], ids=["once", "for good"])
def test_nothing_is_lost_wherever_a_run_fails(
    before: Path, states: list[dict[str, Any]], tmp_path: Path, first: int, lasting: bool
) -> None:
    at, struck = first, True
    while struck:
        folder = tmp_path / str(at)
        shutil.copytree(before, folder)
        faults = Faults(at, lasting)
        attempt(folder, faults)
        check(folder, states)
        shutil.rmtree(folder)
        struck = faults.done > at
        at += STRIDE
    assert at > 80  # so many operations make up a run


@pytest.mark.parametrize(("spare_pages", "is_full"), [(0, True), (2, True), (5, True), (400, False)])
def test_nothing_is_lost_when_the_disk_fills_up(
    before: Path, states: list[dict[str, Any]], tmp_path: Path, spare_pages: int, is_full: bool
) -> None:
    folder = Path(shutil.copytree(before, tmp_path / "library"))
    catalog = Catalog.open(folder / "catalog.sqlite")
    (root,) = catalog.roots()
    limit = catalog._alone("PRAGMA page_count")[0] + spare_pages
    catalog._alone(f"PRAGMA max_page_count = {limit}")
    expected = pytest.raises(OSError, match="No space left on device") if is_full else nullcontext()
    with expected:
        # Large enough to need pages of its own.
        catalog.record([photo(root.id, "long.txt", row("text", 1, "word " * 5000), kind="text")])
        run(catalog, folder / "vectors", root.id)
    catalog.forget([item.id for item in catalog.items_under(Path("/photos/long.txt"))])
    catalog.close()
    check(folder, states)
