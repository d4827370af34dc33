from __future__ import annotations

import html
import string

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.retrieval.encoders.cleaning import cleaner


def clip_clean(text: str) -> str:
    """As OpenAI's CLIP has it: basic_clean, whitespace_clean."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).strip().split())


@given(st.text())
def test_ftfy_is_what_clip_does(text: str) -> None:
    assert cleaner("ftfy")(text) == clip_clean(text)


@given(st.text(alphabet=string.printable))
def test_plain_ascii_takes_no_shortcut_that_shows(text: str) -> None:
    assert cleaner("ftfy-lower")(text) == clip_clean(text).lower()


@pytest.mark.parametrize(
    ("name", "text", "clean"),
    [
        (None, "  As &amp; it IS ", "  As &amp; it IS "),
        ("ftfy", "  schÃ¶n <b> &amp;amp;\tund  GUT ", "schön <b> & und GUT"),
        ("ftfy-lower", "  Fish &amp; CHIPS ", "fish & chips"),
        ("canonicalize", "It's a snake_case, DOG!", "its a snake case dog"),
    ],
)
def test_each_cleaning_does_what_its_name_says(name: str | None, text: str, clean: str) -> None:
    assert cleaner(name)(text) == clean  # type: ignore[arg-type]
