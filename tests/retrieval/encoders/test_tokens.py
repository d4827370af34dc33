from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch.index.errors import ModelInvalid
from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.tokens import Tokens

CONTEXT = 32


@pytest.fixture(scope="module")
def tokens(tiny: Path) -> Tokens:
    return Tokens(model_directory.read(tiny))


def pieces(tokens: Tokens, text: str) -> list[str]:
    return [text[start:end] for start, end in tokens.spans(text)]


def test_special_tokens_stand_around_the_text(tokens: Tokens) -> None:
    assert tokens.encode(["red", ""]) == [[2, 4, 3], [2, 3]]


def test_a_lone_surrogate_is_no_error(tokens: Tokens) -> None:
    assert tokens.encode(["red \udc80"])[0][:2] == [2, 4]


def test_a_batch_is_padded_to_its_longest(tokens: Tokens) -> None:
    np.testing.assert_array_equal(tokens.batch([[2, 4, 3], [2, 3]]), [[2, 4, 3], [2, 3, 0]])


def test_a_batch_is_padded_to_the_context_where_the_model_wants_that(tiny: Path) -> None:
    model = model_directory.read(tiny)
    filled = Tokens(replace(model, text=replace(model.text, pad="context", pad_id=9)))
    assert filled.batch([[2, 3]]).tolist() == [[2, 3] + [9] * (CONTEXT - 2)]


def test_a_short_text_is_one_span(tokens: Tokens) -> None:
    assert tokens.spans(" a red dog. ") == [(0, 12)]


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_blank_text_has_no_span(tokens: Tokens, text: str) -> None:
    assert tokens.spans(text) == []


def test_whole_sentences_stay_together(tokens: Tokens) -> None:
    first, second = "One red dog runs far along the beach. ", "Two blue cats sleep on a green sofa! "
    assert pieces(tokens, first + second + first) == [first, second, first]


def test_short_sentences_share_a_span(tokens: Tokens) -> None:
    assert pieces(tokens, "Red. " * 20) == ["Red. " * 15, "Red. " * 5]  # 30 tokens beside the special ones


def test_a_long_sentence_is_cut_between_words(tokens: Tokens) -> None:
    assert pieces(tokens, "red " * 45) == ["red " * 30, "red " * 15]


def test_a_long_word_is_cut_inside(tokens: Tokens) -> None:
    assert "".join(pieces(tokens, "x" * 100)) == "x" * 100
    assert len(tokens.spans("x" * 100)) == 2  # 50 letters are 25 pieces


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet=st.sampled_from("ab .。!\n日🐶é"), max_size=300))
def test_spans_cover_the_text_and_each_fits(tokens: Tokens, text: str) -> None:
    spans = tokens.spans(text)
    if not text.strip():
        assert spans == []
        return
    assert (spans[0][0], spans[-1][1]) == (0, len(text))
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))
    assert max(map(len, tokens.encode(pieces(tokens, text)))) <= CONTEXT


def test_a_broken_tokenizer_is_named(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelInvalid, match=r"tokenizer\.json cannot be read"):
        Tokens(replace(model_directory.read(tiny), path=tmp_path))
