"""Why a hit stands where it stands, in words a person understands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS, View
from mmsearch.index.lexicon import query_words
from mmsearch.index.reader import Reader

NAME = "name"
_NOUNS: dict[str, str] = {
    "image": "photo",
    "caption": "caption",
    "text": "text",
    "audio_caption": "audio caption",
    NAME: "name (or title, or tags)",
}

# Which signals are told as one.
_TOPICS = {
    "cosine": "meaning",
    "z": "meaning",
    "list_z": "meaning",
    "reciprocal_rank": "meaning",
    "margin": "meaning",
    "hub": "hub",
    "words": "words",
    "words_share": "words",
    "centroid": "company",
    "density": "company",
    "agreement": "agreement",
    "has": "has",
}

# What is said of a topic that speaks for the hit, and of one that speaks against it.
_SAYINGS = {
    "meaning": ("its {noun} is close in meaning", "its {noun} could be closer in meaning"),
    "hub": ("its {noun} answers to little else", "its {noun} answers to everything (a hub)"),
    "words": ("its {noun} shares {words}", "its {noun} shares too few words with the query"),
    "company": ("its {noun} is like the other good answers", "its {noun} is unlike the other good answers"),
    "agreement": ("its {noun} agrees with the rest of it", "its {noun} does not agree with the rest of it"),
    "has": ("it has a {noun}", "it has a {noun}"),
    "others": ("its other views fit as well", "its other views do not fit"),
    "known": ("how much is known of it", "how much is known of it"),
    "query": ("what kind of query it is", "what kind of query it is"),
    "unwanted": ("it resembles what was subtracted", "it resembles what was subtracted"),
}
_OF_THE_ITEM = {
    NAME: (NAME, "words"),
    "name_share": (NAME, "words"),
    "name_coverage": (NAME, "words"),
    "views": ("", "known"),
    "has": ("", "known"),
    "query": ("", "query"),
    "others": ("", "others"),
    "unwanted": ("", "unwanted"),
}
_WORTH_TELLING = 0.05


class SharedWords:
    """Which words of a query the texts and the name of an item hold, in any of their forms."""

    def __init__(self, catalog: Reader, query: str) -> None:
        words = query_words(query)
        self._texts = dict(zip(words, catalog.with_words("texts", words), strict=True))
        self._names = dict(zip(words, catalog.with_words("names", words), strict=True))

    def of(self, item: int, rows: NDArray[np.int64]) -> dict[str, list[str]]:
        """The words by view, and those of the name by `name`, of an item with these rows (V,); only where there are."""
        shared: dict[str, list[str]] = {NAME: _holding(self._names, item)}
        for view, row in zip(VIEWS, rows.tolist(), strict=True):
            shared[view] = _holding(self._texts, row)
        return {where: words for where, words in shared.items() if words}


def in_words(contributions: Mapping[str, float], closest: View, shared: Mapping[str, list[str]]) -> Iterator[str]:
    """A sentence for each topic and what it adds to the score, the greatest first; the small ones as one.

    contributions: by name, as a head explains a score. closest: the view that is closest in meaning. shared: words that
    the query shares with each view, and with the name.
    """
    totals: dict[tuple[str, str], float] = defaultdict(float)
    for name, value in contributions.items():
        totals[_topic(name, closest)] += value
    rest = 0.0
    for (place, topic), value in sorted(totals.items(), key=lambda told: -abs(told[1])):
        if abs(value) < _WORTH_TELLING:
            rest += value
            continue
        words = _quoted(shared.get(place, []))
        yield f"{_SAYINGS[topic][value < 0].format(noun=_NOUNS.get(place, ''), words=words)} {value:+.2f}"
    if abs(rest) >= _WORTH_TELLING / 10:
        yield f"everything else {rest:+.2f}"


def _topic(name: str, closest: View) -> tuple[str, str]:
    """Of what a contribution tells (a view, the name, or the whole), and what."""
    if name == "base":
        return closest, "meaning"
    if name in _OF_THE_ITEM:
        return _OF_THE_ITEM[name]
    view, signal = name.split(".")
    return view, _TOPICS[signal]


def _holding(lists: Mapping[str, NDArray[np.int64]], one: int) -> list[str]:
    return [word for word, ids in lists.items() if one in ids]


def _quoted(words: list[str]) -> str:
    """The words as they stand in a sentence.

    >>> _quoted(["dog"]), _quoted(["dog", "beach"]), _quoted([])
    ("the word 'dog'", "the words 'dog', 'beach'", 'words with the query')
    """
    named = ", ".join(f"'{word}'" for word in words)
    return {0: "words with the query", 1: f"the word {named}"}.get(len(words), f"the words {named}")
