from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.retrieval.reranking.words import shared


def shared_weights(texts: list[str], query: str) -> NDArray[np.float32]:
    return shared(texts, query).at(np.arange(len(texts)))


def weight(holding: int, count: int) -> float:
    """Of a word among 1,000 others more, 20 of which hold it."""
    return math.log(1 + (1000 + count - 20 - holding + 0.5) / (20 + holding + 0.5))


def test_a_text_weighs_what_it_shares_with_the_query() -> None:
    texts = ["a dog on a beach", "two dogs", "a cat", "a dog and a cat on a beach"]
    expected = [weight(3, 4) + weight(2, 4), weight(3, 4), 0, weight(3, 4) + weight(2, 4)]
    np.testing.assert_allclose(shared_weights(texts, "the dog on the beach"), expected, rtol=1e-6)


@pytest.mark.parametrize("query", ["running", "Runs!", "RÜN"])
def test_words_are_matched_in_any_form(query: str) -> None:
    np.testing.assert_allclose(shared_weights(["she runs", "a café"], query), [weight(1, 2), 0], rtol=1e-6)


def test_a_word_that_every_text_holds_still_weighs() -> None:
    assert shared_weights(["a dog"] * 100, "dog").min() > 2


@given(st.text(), st.lists(st.text(), max_size=3))
def test_no_query_is_syntax(query: str, texts: list[str]) -> None:
    weights = shared_weights(texts, query)
    assert weights.shape == (len(texts),)
    assert (weights >= 0).all()
