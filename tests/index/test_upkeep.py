from __future__ import annotations

import os
import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.index.samples import bytes_in, failure, photo, row, row_ids, unit

from mmsearch.index.catalog import Catalog
from mmsearch.index.items import Counts, NewRow, Root


@contextmanager
def raw(catalog: Catalog) -> Iterator[sqlite3.Connection]:
    """The file without the rules that the catalogue keeps."""
    connection = sqlite3.connect(catalog.path)
    with connection:
        yield connection
    connection.close()


def test_counts_are_by_kind_and_view(catalog: Catalog, root: Root) -> None:
    catalog.record(
        [
            photo(root.id, "a.jpg", row(), row("caption")),
            photo(root.id, "b.jpg", row()),
            photo(root.id, "c.wav", row("audio_caption"), kind="audio"),
            photo(root.id, "d.wav", kind="audio"),
            photo(root.id, "e.txt", kind="text"),
        ],
        [failure(root.id, "f.jpg")],
    )
    assert catalog.counts() == Counts(
        items={"image": 2, "audio": 2, "text": 1},
        rows={"image": 2, "caption": 1, "audio_caption": 1},
        failures=1,
        uncaptioned=1,
    )
    assert catalog.uncaptioned() == [Path("/photos/d.wav")]


def test_an_empty_catalogue_counts_nothing(catalog: Catalog) -> None:
    assert catalog.counts() == Counts(items={}, rows={}, failures=0, uncaptioned=0)


def test_a_sound_catalogue_has_no_problems(catalog: Catalog, root: Root) -> None:
    catalog.set_meta(dim="16")
    catalog.record([photo(root.id, "a.jpg", row()), photo(root.id, "b.wav", kind="audio")], [failure(root.id, "c")])
    assert catalog.problems() == []
    assert catalog.mend() == []


def vector_row(vector: list[float]) -> NewRow:
    return NewRow("image", "key", np.array(vector, np.float16))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (vector_row([0.6, 0.8]), "row 2 has 2 dimensions instead of 16"),
        (vector_row([]), "row 2 has 0 dimensions instead of 16"),
        (vector_row([1.25] + [0] * 15), "row 2 has a vector of length 1.25 instead of 1"),
        (vector_row([0] * 16), "row 2 has a vector of length 0 instead of 1"),
        (vector_row([np.nan] + [0] * 15), "row 2 has a vector of length nan instead of 1"),
        (vector_row([np.inf] + [0] * 15), "row 2 has a vector of length inf instead of 1"),
        (NewRow("smell", "key", unit(1)[0].astype(np.float16)), "row 2 is of an unknown view, smell"),  # type: ignore[arg-type]
        (row("caption"), "the photo has no vector"),
    ],
)
@pytest.mark.parametrize("dim_is_noted", [True, False])
def test_an_item_with_a_bad_row_is_named_and_goes_when_mended(
    catalog: Catalog, root: Root, bad: NewRow, reason: str, dim_is_noted: bool
) -> None:
    if dim_is_noted:
        catalog.set_meta(dim="16")
    good = [photo(root.id, "good.jpg", row()), photo(root.id, "better.jpg", row())]
    catalog.record([good[0], photo(root.id, "bad.jpg", bad), good[1]])
    if bad.view != "caption":
        assert catalog.problems() == [f"/photos/bad.jpg: {reason}"]
    else:
        assert catalog.problems() == ["/photos/bad.jpg: the photo has no vector"]
    assert catalog.mend() == [f"/photos/bad.jpg was removed, to be read again by the next `mmsearch index`: {reason}"]
    assert catalog.problems() == []
    assert set(catalog.known(root.id)) == {"good.jpg", "better.jpg"}


def test_the_largest_rounding_of_a_unit_vector_is_no_problem(catalog: Catalog, root: Root) -> None:
    # Halfway between two float16 values in every coordinate, which moves the length most.
    value = np.float64(np.float16(1.0)) + 2.0**-11 * 0.999
    vector = np.full(16, value / np.linalg.norm(np.full(16, value)))
    catalog.record([photo(root.id, "a.jpg", NewRow("image", "key", vector.astype(np.float16)))])
    assert catalog.problems() == []


def test_orphans_are_named_and_go_when_mended(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, "a.jpg", row()), photo(root.id, "b.jpg", row())])
    with raw(catalog) as connection:
        connection.execute("DELETE FROM items WHERE path = 'a.jpg'")
    assert catalog.problems() == ["rows 1 has lost its items"]
    assert catalog.mend() == ["rows 1, which had lost its items, was removed"]
    assert catalog.problems() == []
    assert row_ids(catalog) == [2]
    assert catalog.graves_after("image", 0)[0].tolist() == [1]


def test_a_broken_lookup_table_is_found_and_rebuilt(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, f"{i}.jpg", row(seed=i)) for i in range(3)])
    with raw(catalog) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("CREATE TABLE empty (view)")
        connection.execute("CREATE INDEX empty_by_view ON empty (view)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'empty_by_view'").fetchone()
        connection.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = 'rows_by_view'", (page,))
        connection.execute("DELETE FROM sqlite_master WHERE name IN ('empty', 'empty_by_view')")
        connection.execute("PRAGMA schema_version = 1000")
    assert "the catalogue is damaged: row 1 missing from index rows_by_view" in catalog.problems()
    assert "the lookup tables of the catalogue were rebuilt" in catalog.mend()
    assert not [problem for problem in catalog.problems() if "missing from index" in problem]


def test_a_catalogue_that_cannot_be_read_says_so_among_its_problems(catalog: Catalog, root: Root) -> None:
    catalog.record([photo(root.id, f"{i}.jpg", row(seed=i, text="x" * 500)) for i in range(50)])
    catalog.compact()
    catalog.close()
    data = bytearray(catalog.path.read_bytes())
    data[4096 * 2 :] = os.urandom(len(data) - 4096 * 2)
    catalog.path.write_bytes(data)
    problems = catalog.problems()
    assert problems
    assert "damaged" in problems[0] or "cannot be read" in problems[0]


def test_compaction_takes_removed_text_and_vectors_off_the_disk(catalog: Catalog, root: Root, tmp_path: Path) -> None:
    secret = row("caption", 77, "the secret of the lighthouse keeper")
    others = [photo(root.id, f"{i}.jpg", row(seed=i, text=f"harmless {i}" * 20)) for i in range(40)]
    catalog.record([*others, photo(root.id, "hidden place.jpg", row(seed=99), secret)])
    item = catalog.item_at(Path("/photos/hidden place.jpg"))
    assert item is not None
    traces = [b"lighthouse", b"hidden place", secret.vector.tobytes(), row(seed=99).vector.tobytes()]
    assert all(trace in bytes_in(tmp_path) for trace in traces)
    catalog.forget([item.id])
    catalog.compact()
    found = bytes_in(tmp_path)
    assert [trace for trace in traces if trace in found] == []
    assert b"harmless 39" in found
    assert catalog.problems() == []


@pytest.mark.parametrize("seed", [4, 7])
def test_compaction_leaves_nothing_of_a_long_history(catalog: Catalog, root: Root, tmp_path: Path, seed: int) -> None:
    # SQLite's secure_delete alone left a text behind after 2 of 12 such histories, these two among them: pages
    # that were rearranged keep copies. Only VACUUM takes them away.
    chance = random.Random(seed)
    for round_ in range(12):
        batch = {}
        for _ in range(30):
            name = f"{chance.randrange(150):04}"
            batch[name] = [
                row("caption", chance.randrange(10**9), f"secret{name}-{round_:02}-{k}" + "x" * chance.randrange(300))
                for k in range(chance.randrange(4))
            ]
        catalog.record([photo(root.id, f"{name}.jpg", *rows) for name, rows in batch.items()])
        items = catalog.items_under(root.path)
        catalog.forget([item.id for item in chance.sample(items, min(20, len(items)))])
    catalog.compact()
    kept = {stored.text.rstrip("x") for stored in catalog.describe(row_ids(catalog, "caption")).values()}
    on_disk = {match.decode() for match in re.findall(rb"secret\d{4}-\d\d-\d", bytes_in(tmp_path))}
    assert on_disk == kept


def test_compaction_that_a_reader_blocks_is_made_up_for_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.index.sqlite_file.BUSY_TIMEOUT_S", 0.01)
    catalog, reader = (Catalog.open(tmp_path / "catalog.sqlite") for _ in range(2))
    root = catalog.add_root(Path("/photos"))
    catalog.record([photo(root.id, "a.jpg", row(text="a secret"))])
    with reader._reading() as connection:
        connection.execute("SELECT * FROM rows").fetchall()
        catalog.drop_root(root.id)
        catalog.compact()
        assert catalog.graves_floor() == 0
    catalog.compact()
    assert catalog.graves_floor() == 1
    assert b"a secret" not in bytes_in(tmp_path)
    reader.close()
    catalog.close()


def test_compacting_twice_or_nothing_is_harmless(catalog: Catalog, root: Root) -> None:
    catalog.compact()
    catalog.record([photo(root.id, "a.jpg", row()), photo(root.id, "b.jpg", row())])
    catalog.record([photo(root.id, "a.jpg", row())])
    catalog.compact()
    catalog.compact()
    assert row_ids(catalog) == [2, 3]
