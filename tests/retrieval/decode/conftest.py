"""A tower whose context is a number of words, and the ways to read a file with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mmsearch.index.items import Root
from mmsearch.retrieval.decode import decode
from mmsearch.retrieval.files import walk
from mmsearch.retrieval.types import Decoded, File, Passage, Preprocess

Spans = Callable[[str], list[tuple[int, int]]]
Read = Callable[..., Decoded]


def spans_of(words: int) -> Spans:
    """Spans of at most so many words, as a tower with that context gives them."""

    def spans(text: str) -> list[tuple[int, int]]:
        ends = [found.end() for found in re.finditer(r"\S+\s*", text)]
        last = [end for place, end in enumerate(ends, 1) if place % words == 0 or place == len(ends)]
        return list(zip([0, *last], last, strict=False))

    return spans


@pytest.fixture(scope="session", name="spans_of")
def _spans_of() -> Callable[[int], Spans]:
    """Makes such spans."""
    return spans_of


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Walks to one file of the test's folder and decodes it."""

    def read(
        name: str, *, words: int = 20, size: int = 8, pixels: bool = True, manifest: tuple[Passage, ...] = ()
    ) -> Decoded:
        (file,) = walk(Root(1, tmp_path), tmp_path / name)
        assert isinstance(file, File)
        return decode(file, preprocess=Preprocess(size), spans=spans_of(words), pixels=pixels, manifest=manifest)

    return read
