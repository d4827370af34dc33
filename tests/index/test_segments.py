from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.index.samples import DIM, unit

from mmsearch.index import segments
from mmsearch.index.segments import Segment, joined, settled


def segment(n: int, start: int = 0, seed: int = 0) -> Segment:
    return Segment(np.arange(start, start + n), unit(n, seed).astype(np.float16))


def test_a_segment_comes_back_from_its_file(tmp_path: Path) -> None:
    written = segment(5, 3).write(tmp_path / "a-1.rows")
    assert written.name == "a-1.rows"
    assert written.ids.tolist() == [3, 4, 5, 6, 7]
    np.testing.assert_array_equal(written.vectors, segment(5).vectors)
    assert (tmp_path / "a-1.rows").stat().st_size == 64 + 5 * (8 + 2 * DIM)


def test_a_file_is_mapped_and_never_changed(tmp_path: Path) -> None:
    written = segment(2).write(tmp_path / "a-1.rows")
    with pytest.raises(ValueError, match="read-only"):
        written.vectors[0] = 0


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"x" + data[1:]])
def test_a_file_that_is_something_else_is_refused(damage: object, tmp_path: Path) -> None:
    path = tmp_path / "a-1.rows"
    segment(2).write(path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"a-1\.rows is (no segment|cut short)"):
        Segment.read(path)


def test_rows_that_are_gone_are_left_out_when_segments_are_joined() -> None:
    one, two = segment(4).without(np.array([1, 3, 9])), segment(3, 10, seed=1)
    assert (len(one), one.kept().tolist(), one.without(np.array([0])).kept_ids().tolist()) == (2, [0, 2], [2])
    both = joined([one, two])
    assert both.ids.tolist() == [0, 2, 10, 11, 12]
    np.testing.assert_array_equal(both.vectors, np.concatenate([unit(4)[[0, 2]], unit(3, 1)]).astype(np.float16))


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 100))
def test_settled_segments_hold_the_same_rows_in_the_same_order(sizes: list[int], most: int) -> None:
    starts = np.cumsum([0, *sizes])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT_ROWS", most)
        kept: list[Segment] = []
        for size, start in zip(sizes, starts.tolist(), strict=False):
            kept = settled([*kept, segment(size, start)])
    assert [id_ for each in kept for id_ in each.ids.tolist()] == list(range(sum(sizes)))
    # Each is more than twice as long as the next, or the two would not fit into one.
    for one, two in pairwise(kept):
        assert len(one) > 2 * len(two) or len(one) + len(two) > most


def test_a_few_rows_leave_a_long_segment_alone() -> None:
    long = segment(1000)
    kept = [long]
    for at in range(64):
        kept = settled([*kept, segment(1, 1000 + at)])
    assert kept[0] is long
    assert [len(each) for each in kept[1:]] == [55, 8, 1]


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.lists(st.integers(-2, 63), max_size=30))
def test_ids_are_found_where_their_rows_are(stored: set[int], removed: set[int], asked: list[int]) -> None:
    ids = np.array(sorted(stored), np.int64)
    kept = Segment(ids, np.zeros((len(ids), 1), np.float16)).without(np.array(sorted(removed), np.int64))
    wanted = np.array(asked, np.int64)
    mine, places = kept.find(wanted)
    assert mine.tolist() == [at for at, id_ in enumerate(asked) if id_ in stored - removed]
    assert ids[places].tolist() == wanted[mine].tolist()


def test_rows_in_any_order_are_kept_by_id() -> None:
    made = Segment.of(np.array([5, 2, 9]), unit(3).astype(np.float16))
    assert made.ids.tolist() == [2, 5, 9]
    np.testing.assert_array_equal(made.vectors, unit(3)[[1, 0, 2]].astype(np.float16))
    over = joined([segment(2, 10), segment(2, 3, seed=1)])
    assert over.ids.tolist() == [3, 4, 10, 11]
    np.testing.assert_array_equal(over.vectors, np.concatenate([unit(2, 1), unit(2)]).astype(np.float16))
