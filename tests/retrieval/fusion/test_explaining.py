from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.retrieval.fusion.test_calibration import signals_of

from mmsearch.index.catalog import Catalog
from mmsearch.retrieval.fusion.explaining import SharedWords, in_words
from mmsearch.retrieval.fusion.heads.base import Head
from mmsearch.retrieval.fusion.heads.shared import Shared
from mmsearch.retrieval.fusion.heads.weighted import Weighted


def told(contributions: dict[str, float], **shared: list[str]) -> list[str]:
    return list(in_words(contributions, "caption", shared))


def test_what_counts_most_comes_first() -> None:
    assert told({"image.hub": -0.4, "caption.words": 1.3, "base": 2.1}, caption=["dog", "beach"]) == [
        "its caption is close in meaning +2.10",
        "its caption shares the words 'dog', 'beach' +1.30",
        "its photo answers to everything (a hub) -0.40",
    ]


def test_signals_of_one_topic_are_told_as_one() -> None:
    assert told({"base": 1.0, "caption.z": 0.5, "caption.margin": -0.25, "image.z": -0.5}) == [
        "its caption is close in meaning +1.25",
        "its photo could be closer in meaning -0.50",
    ]


def test_small_ones_are_told_together_and_nothing_is_lost() -> None:
    assert told({"base": 1.0, "name": 0.04, "views": 0.03, "image.hub": -0.01}) == [
        "its caption is close in meaning +1.00",
        "everything else +0.06",
    ]


def test_one_word_of_a_name_is_named() -> None:
    assert told({"name": 0.5, "name_share": 0.25}, name=["rex"]) == [
        "its name (or title, or tags) shares the word 'rex' +0.75"
    ]


def test_words_that_cannot_be_named_are_told_all_the_same() -> None:
    assert told({"audio_caption.words": 0.5}) == ["its audio caption shares words with the query +0.50"]
    assert told({"audio_caption.words": -0.5}) == ["its audio caption shares too few words with the query -0.50"]


def test_what_was_subtracted_is_told() -> None:
    assert told({"unwanted": -2.0}) == ["it resembles what was subtracted -2.00"]


@pytest.mark.parametrize("kind", [Weighted, Shared])
def test_every_contribution_of_a_head_can_be_told(kind: type[Head]) -> None:
    signals = signals_of(2)
    signals.present[:] = True
    signals.views[:] = 1.0
    contributions = kind.untrained().explain(signals, 0)
    assert told(dict.fromkeys(contributions, 1.0))


class Words:
    """A catalogue that holds these ids for each word."""

    def with_words(self, indexed: str, words: list[str]) -> list[NDArray[np.int64]]:
        held = {("texts", "dog"): [4, 7], ("texts", "beach"): [4], ("names", "beach"): [2]}
        return [np.array(held.get((indexed, word), []), np.int64) for word in words]


def test_shared_words_are_those_of_the_rows_and_of_the_name() -> None:
    shared = SharedWords(cast(Catalog, Words()), "a dog on the beach")
    assert shared.of(2, np.array([-1, 4, -1, 7])) == {
        "caption": ["dog", "beach"],
        "audio_caption": ["dog"],
        "name": ["beach"],
    }
    assert shared.of(3, np.array([9, -1, -1, -1])) == {}
