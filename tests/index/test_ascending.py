"""Looking ids up, against NumPy's own isin and a list's index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.index.ascending import find, is_among

IDS = st.integers(-3, 40)


@given(ids=st.sets(IDS), values=st.lists(IDS))
def test_values_are_found_where_they_are(ids: set[int], values: list[int]) -> None:
    check(sorted(ids), values)


@given(first=IDS, count=st.integers(0, 20), values=st.lists(IDS))
def test_values_are_found_among_ids_without_gaps(first: int, count: int, values: list[int]) -> None:
    check(list(range(first, first + count)), values)


@pytest.mark.parametrize("ids", [[], [-1], [2**62], [1, 2**62]])
def test_the_ends_of_all_ids_are_no_special_case(ids: list[int]) -> None:
    check(ids, [-1, 0, 1, 2**62, 2**62 + 1])


def check(ids: list[int], values: list[int]) -> None:
    ascending, asked = np.array(ids, np.int64), np.array(values, np.int64)
    found, places = find(ascending, asked)
    assert found.tolist() == [value in ids for value in values]
    assert places[found].tolist() == [ids.index(value) for value in values if value in ids]
    assert is_among(asked, ascending).tolist() == np.isin(asked, ascending).tolist()
