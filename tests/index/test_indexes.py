from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.index.samples import DIM, assert_level, bytes_in, photo, row, row_ids, unit

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import DimensionMismatch
from mmsearch.index.exact import ExactStore
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS, Root
from mmsearch.index.row_store import RowStore
from mmsearch.index.vectors import VectorStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "vectors"


@pytest.fixture
def indexes(catalog: Catalog, folder: Path) -> Indexes:
    return Indexes(catalog, folder, DIM)


@pytest.fixture
def five(catalog: Catalog, root: Root) -> list[int]:
    """Ids of the `image` rows of five photos, which have captions as well."""
    catalog.record([photo(root.id, f"{i}.jpg", row(seed=i), row("caption", 10 + i)) for i in range(5)])
    return row_ids(catalog)


def forget(catalog: Catalog, name: str) -> None:
    catalog.forget([item.id for item in catalog.items_under(Path("/photos", name))])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Watched(RowStore):
    """Counts the vectors that are added, to tell a loaded store from a derived one."""

    added = 0

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        Watched.added += len(ids)
        super().add(ids, vectors)


@pytest.fixture
def watched() -> type[Watched]:
    Watched.added = 0
    return Watched


@pytest.mark.parametrize("store_class", [ExactStore, RowStore])
def test_every_view_is_ranked_exactly(
    catalog: Catalog, five: list[int], folder: Path, store_class: type[VectorStore]
) -> None:
    indexes = Indexes(catalog, folder, DIM, store_class)
    assert_level(catalog, indexes)
    assert [indexes.count(view) for view in VIEWS] == [5, 5, 0, 0]


def test_an_empty_catalogue_can_be_searched(indexes: Indexes) -> None:
    assert indexes.search("image", unit(1), 2).ids.tolist() == [[-1, -1]]
    assert indexes.vectors("image", np.array([7])).tolist() == [[0.0] * DIM]


def test_searches_see_what_was_committed_since_the_last_one(
    catalog: Catalog, root: Root, five: list[int], indexes: Indexes
) -> None:
    assert_level(catalog, indexes)
    catalog.record([photo(root.id, "new.jpg", row(seed=50)), photo(root.id, "0.jpg", row(seed=51))])
    assert_level(catalog, indexes)
    forget(catalog, "3.jpg")
    assert_level(catalog, indexes)
    catalog.drop_root(root.id)
    assert_level(catalog, indexes)


def test_many_rows_are_taken_in_parts(
    catalog: Catalog, five: list[int], indexes: Indexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.index.indexes._CHUNK", 2)
    assert_level(catalog, indexes)
    indexes.save()
    assert indexes.problems() == []


def test_many_new_rows_are_put_into_files_as_they_come(
    catalog: Catalog, root: Root, five: list[int], indexes: Indexes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.index.indexes._CHUNK", 2)
    monkeypatch.setattr("mmsearch.index.indexes._SPILLED", 4)
    monkeypatch.setattr("mmsearch.index.segments.SEGMENT_ROWS", 4)
    catalog.record([photo(root.id, f"more{i}.jpg", row(seed=100 + i)) for i in range(20)])
    unwritten: list[int] = []
    add = RowStore.add

    def watched_add(store: RowStore, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        add(store, ids, vectors)
        unwritten.append(sum(len(each) for each in store._segments if not each.name))

    monkeypatch.setattr(RowStore, "add", watched_add)
    indexes.save()
    assert max(unwritten) == 4
    assert indexes.problems() == []
    assert_level(catalog, Indexes(catalog, folder, DIM))


def test_only_allowed_rows_answer(five: list[int], indexes: Indexes) -> None:
    found = indexes.search("image", unit(1), 3, np.array(five[2:3]))
    assert found.ids.tolist() == [[five[2], -1, -1]]


def test_vectors_are_given_by_row_with_zeros_for_what_is_gone(
    catalog: Catalog, five: list[int], indexes: Indexes
) -> None:
    indexes.count("image")
    forget(catalog, "1.jpg")
    found = indexes.vectors("image", np.array([five[4], five[1], five[0]]))
    np.testing.assert_array_equal(found, np.stack([unit(1, 4)[0], np.zeros(DIM), unit(1, 0)[0]]))
    assert found.dtype == np.float32


def test_vectors_of_another_dimension_are_refused(catalog: Catalog, five: list[int], folder: Path) -> None:
    with pytest.raises(DimensionMismatch, match="holds 8-dimensional vectors, but got 16"):
        Indexes(catalog, folder, 8).count("image")


def test_a_saved_index_is_loaded_and_not_made_again(
    catalog: Catalog, root: Root, five: list[int], indexes: Indexes, folder: Path, watched: type[Watched]
) -> None:
    indexes.save()
    assert names(folder) == ["caption-1.rows", "image-1.rows"]
    again = Indexes(catalog, folder, DIM, watched)
    assert_level(catalog, again)
    assert watched.added == 0
    catalog.record([photo(root.id, "new.jpg", row(seed=50))])
    assert_level(catalog, again)
    assert watched.added == 1


def test_only_views_that_changed_are_written_again(
    catalog: Catalog, root: Root, five: list[int], indexes: Indexes, folder: Path
) -> None:
    indexes.save()
    indexes.save()
    assert names(folder) == ["caption-1.rows", "image-1.rows"]
    catalog.record([photo(root.id, "new.jpg", row(seed=50))])
    indexes.save()
    assert names(folder) == ["caption-1.rows", "image-1.rows", "image-2.rows"]
    assert indexes.problems() == []


def test_saving_what_did_not_change_opens_no_store(
    catalog: Catalog, five: list[int], folder: Path, indexes: Indexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes.save()
    noted, files = catalog.meta("snapshot_image"), names(folder)

    def load(cls: type[RowStore], folder: Path, names: list[str]) -> RowStore:
        raise AssertionError("opened")

    monkeypatch.setattr(RowStore, "load", classmethod(load))
    Indexes(catalog, folder, DIM).save()
    assert (catalog.meta("snapshot_image"), names(folder)) == (noted, files)


def test_removals_in_one_view_do_not_age_the_others_that_are_not_opened(
    catalog: Catalog, root: Root, five: list[int], folder: Path, indexes: Indexes, watched: type[Watched]
) -> None:
    catalog.record([photo(root.id, "word.txt", row("text", 40), kind="text")])
    indexes.save()
    forget(catalog, "word.txt")
    Indexes(catalog, folder, DIM).save()
    catalog.compact()
    assert Indexes(catalog, folder, DIM, watched).count("image") == 5
    assert watched.added == 0


def test_a_view_that_lost_its_last_row_loses_its_file(
    catalog: Catalog, root: Root, five: list[int], indexes: Indexes, folder: Path
) -> None:
    indexes.save()
    catalog.record([photo(root.id, f"{i}.jpg", row(seed=i)) for i in range(5)])
    indexes.save()
    assert names(folder) == ["image-2.rows"]
    assert indexes.problems() == []


def test_removals_in_one_view_do_not_age_the_others(
    catalog: Catalog, root: Root, five: list[int], indexes: Indexes, folder: Path, watched: type[Watched]
) -> None:
    indexes.save()
    item = catalog.item_at(Path("/photos/0.jpg"))
    assert item is not None
    with catalog._writing() as connection:
        connection.exec_driver_sql("DELETE FROM rows WHERE view = 'caption'")
    indexes.save()
    catalog.compact()
    assert names(folder) == ["image-1.rows"]
    assert Indexes(catalog, folder, DIM, watched).count("image") == 5
    assert watched.added == 0


def test_compaction_after_saving_leaves_indexes_level(
    catalog: Catalog, five: list[int], indexes: Indexes, folder: Path, watched: type[Watched]
) -> None:
    stale = Indexes(catalog, folder, DIM)
    stale.count("image")
    forget(catalog, "2.jpg")
    indexes.save()
    catalog.compact()
    assert indexes.problems() == []
    assert_level(catalog, Indexes(catalog, folder, DIM, watched))
    assert watched.added == 0
    # This one missed the removals that were cleared away.
    assert_level(catalog, stale)


def test_compaction_before_saving_costs_only_time(
    catalog: Catalog, five: list[int], indexes: Indexes, folder: Path
) -> None:
    indexes.save()
    forget(catalog, "2.jpg")
    catalog.compact()
    again = Indexes(catalog, folder, DIM)
    assert again.problems() == [
        f"the index of the view {view} cannot be used (it has missed removals); `mmsearch repair` rebuilds it"
        for view in ("image", "caption")
    ]
    assert_level(catalog, again)
    again.save()
    assert again.problems() == []


def test_an_old_generation_serves_who_holds_it(
    catalog: Catalog, root: Root, five: list[int], indexes: Indexes, folder: Path
) -> None:
    indexes.save()
    reader_catalog = Catalog.open(catalog.path, create=False)
    reader = Indexes(reader_catalog, folder, DIM)
    assert_level(reader_catalog, reader)
    catalog.record([photo(root.id, "new.jpg", row(seed=50))])
    forget(catalog, "0.jpg")
    indexes.save()
    assert not (folder / "image-1.rows").exists()
    assert_level(reader_catalog, reader)
    reader_catalog.close()


def flip_a_bit(folder: Path, seconds: int = 1) -> None:
    """Turn a bit, and say that it was so long after the file was written."""
    path = folder / "image-1.rows"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    at_ns = path.stat().st_mtime_ns + seconds * 10**9
    path.write_bytes(data)
    os.utime(path, ns=(at_ns, at_ns))


def truncate(folder: Path) -> None:
    path = folder / "image-1.rows"
    path.write_bytes(path.read_bytes()[:-1])


def empty(folder: Path) -> None:
    (folder / "image-1.rows").write_bytes(b"")


def delete(folder: Path) -> None:
    (folder / "image-1.rows").unlink()


def swap(folder: Path) -> None:
    path = folder / "image-1.rows"
    at_ns = path.stat().st_mtime_ns + 10**9
    path.write_bytes((folder / "caption-1.rows").read_bytes())
    os.utime(path, ns=(at_ns, at_ns))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_bit, "is damaged"),
        (truncate, "is damaged"),
        (empty, "is damaged"),
        (swap, "is damaged"),
        (delete, "cannot be read: No such file or directory"),
    ],
)
def test_a_damaged_snapshot_is_named_passed_over_and_rebuilt(
    catalog: Catalog, five: list[int], indexes: Indexes, folder: Path, damage: Callable[[Path], None], reason: str
) -> None:
    indexes.save()
    damage(folder)
    again = Indexes(catalog, folder, DIM)
    path = folder / "image-1.rows"
    assert again.problems() == [
        f"the index of the view image cannot be used ({path} {reason}); `mmsearch repair` rebuilds it"
    ]
    assert_level(catalog, again)
    again.rebuild()
    assert again.problems() == []
    assert_level(catalog, Indexes(catalog, folder, DIM))


@pytest.mark.parametrize("content", [b"", b"mmrows01", bytes(64), b"mmrows01" + bytes([9]) + bytes(55)])
def test_a_snapshot_that_was_written_wrong_is_passed_over(
    catalog: Catalog, five: list[int], indexes: Indexes, folder: Path, content: bytes
) -> None:
    indexes.save()
    (folder / "image-1.rows").write_bytes(content)
    noted = indexes._snapshots.noted("image")
    assert noted is not None
    wrong = replace(noted, files=(indexes._snapshots._described("image-1.rows", None),))
    indexes._snapshots.note({"image": wrong, "caption": indexes._snapshots.noted("caption")})
    again = Indexes(catalog, folder, DIM)
    assert "image-1.rows holds no vectors" in again.problems()[0]
    assert_level(catalog, again)
    again.rebuild()
    assert again.problems() == []


def test_damage_that_left_the_time_of_the_file_is_found_by_looking_for_it(
    catalog: Catalog, five: list[int], indexes: Indexes, folder: Path
) -> None:
    indexes.save()
    flip_a_bit(folder, seconds=0)
    assert Indexes(catalog, folder, DIM).problems() == [
        f"the index of the view image cannot be used ({folder / 'image-1.rows'} is damaged); "
        "`mmsearch repair` rebuilds it"
    ]


def test_files_that_were_copied_elsewhere_and_back_still_count(
    catalog: Catalog, five: list[int], indexes: Indexes, folder: Path, watched: type[Watched]
) -> None:
    indexes.save()
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    assert_level(catalog, Indexes(catalog, folder, DIM, watched))
    assert watched.added == 0


def test_an_index_of_a_version_that_kept_each_view_in_one_file_is_made_anew(
    catalog: Catalog, five: list[int], indexes: Indexes, folder: Path
) -> None:
    folder.mkdir()
    (folder / "image-3.faiss").write_bytes(b"IxM2")
    old = {"generation": 3, "last_row": five[-1], "last_grave": 0, "dim": DIM, "fingerprint": "", "crc": 0}
    catalog.set_meta(snapshot_image=json.dumps(old))
    assert_level(catalog, indexes)
    indexes.save()
    assert names(folder) == ["caption-1.rows", "image-4.rows"]
    assert indexes.problems() == []


def test_saving_replaces_a_file_that_was_deleted_meanwhile(
    catalog: Catalog, five: list[int], indexes: Indexes, folder: Path
) -> None:
    indexes.save()
    delete(folder)
    indexes.save()
    assert indexes.problems() == []


def test_a_snapshot_that_is_behind_is_a_problem_until_it_is_saved(
    catalog: Catalog, root: Root, five: list[int], indexes: Indexes
) -> None:
    indexes.save()
    catalog.record([photo(root.id, "new.jpg", row(seed=50))])
    assert indexes.problems() == ["the index of the view image is behind the catalogue; `mmsearch repair` rebuilds it"]
    forget(catalog, "new.jpg")
    catalog.record([photo(root.id, "0.jpg", row())])
    assert len(indexes.problems()) == 2  # the caption of 0.jpg is gone
    indexes.save()
    assert indexes.problems() == []


def test_a_catalogue_without_snapshots_says_so(catalog: Catalog, five: list[int], indexes: Indexes) -> None:
    assert indexes.problems() == [
        f"the index of the view {view} cannot be used (there is none); `mmsearch repair` rebuilds it"
        for view in ("image", "caption")
    ]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE rows SET vector = (SELECT vector FROM rows WHERE id = 1) WHERE id = 3", "holds other vectors"),
        ("UPDATE rows SET view = 'text' WHERE id = 3", "holds other rows"),
    ],
)
def test_a_snapshot_that_differs_from_the_catalogue_is_found_and_rebuilt(
    catalog: Catalog, five: list[int], indexes: Indexes, sql: str, problem: str
) -> None:
    indexes.save()
    with catalog._writing() as connection:
        connection.exec_driver_sql(sql)
    assert (
        indexes.problems()[0]
        == f"the index of the view image {problem} than the catalogue; `mmsearch repair` rebuilds it"
    )
    indexes.rebuild()
    assert indexes.problems() == []
    assert_level(catalog, indexes)


def test_a_snapshot_of_another_model_does_not_count(
    catalog: Catalog, five: list[int], indexes: Indexes, folder: Path, watched: type[Watched]
) -> None:
    catalog.set_meta(fingerprint="one")
    indexes.save()
    assert indexes.problems() == []
    catalog.set_meta(fingerprint="two")
    assert "it was made with another model" in indexes.problems()[0]
    assert Indexes(catalog, folder, DIM, watched).count("image") == 5
    assert watched.added == 5


def test_a_catalogue_from_a_backup_does_not_take_a_newer_snapshot(
    catalog: Catalog, root: Root, five: list[int], indexes: Indexes, folder: Path, tmp_path: Path
) -> None:
    indexes.save()
    catalog.compact()
    backup = catalog.path.read_bytes()
    catalog.record([photo(root.id, "new.jpg", row(seed=50))])
    indexes.save()
    catalog.close()
    catalog.path.write_bytes(backup)
    restored = Catalog.open(catalog.path)
    # The same row ids as before, for other vectors.
    restored.record([photo(root.id, "other.jpg", row(seed=51))])
    assert_level(restored, Indexes(restored, folder, DIM))
    again = Indexes(restored, folder, DIM)
    again.save()
    assert again.problems() == []
    assert_level(restored, Indexes(restored, folder, DIM))
    restored.close()


def test_leftovers_of_a_crash_are_cleared_away(
    catalog: Catalog, five: list[int], indexes: Indexes, folder: Path
) -> None:
    folder.mkdir()
    for name in ("image-7.rows", ".image-8.rows.123.tmp", "notes.txt"):
        (folder / name).write_text("left over")
    indexes.save()
    assert names(folder) == ["caption-1.rows", "image-8.rows", "notes.txt"]
    assert indexes.problems() == []


def test_removed_vectors_are_off_the_disk_after_saving_and_compacting(
    catalog: Catalog, root: Root, five: list[int], indexes: Indexes, tmp_path: Path
) -> None:
    indexes.save()
    trace = row(seed=2).vector.tobytes()
    assert bytes_in(tmp_path).count(trace) >= 2
    forget(catalog, "2.jpg")
    indexes.save()
    catalog.compact()
    assert trace not in bytes_in(tmp_path)
    assert row(seed=3).vector.tobytes() in bytes_in(tmp_path)


def test_the_note_of_a_snapshot_says_what_it_holds(catalog: Catalog, five: list[int], indexes: Indexes) -> None:
    catalog.set_meta(fingerprint="abc")
    indexes.save()
    note = json.loads(catalog.meta("snapshot_image") or "")
    assert [file["name"] for file in note["files"]] == ["image-1.rows"]
    assert (note["last_row"], note["last_grave"]) == (five[-1], 0)
    assert (note["dim"], note["fingerprint"]) == (DIM, "abc")


def test_a_store_that_failed_while_catching_up_is_not_used_again(
    catalog: Catalog, root: Root, five: list[int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = Indexes(catalog, folder, DIM)
    assert_level(catalog, indexes)
    catalog.record([photo(root.id, "new.jpg", row(seed=50))])

    def add_and_fail(self: RowStore, ids: object, vectors: object) -> None:
        original(self, ids, vectors)  # type: ignore[arg-type]
        raise MemoryError

    original = RowStore.add
    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "add", add_and_fail)
        with pytest.raises(MemoryError):
            indexes.count("image")
    assert_level(catalog, indexes)


def test_threads_search_while_another_writes(catalog: Catalog, root: Root, five: list[int], indexes: Indexes) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                found = indexes.search("image", unit(2), 3)
                indexes.vectors("image", found.ids[0])
                assert np.all(found.scores[:, 0] >= found.scores[:, 1])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(15):
        catalog.record([photo(root.id, f"{i % 7}.jpg", row(seed=i))])
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert_level(catalog, indexes)
