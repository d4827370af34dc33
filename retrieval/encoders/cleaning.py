"""What is done to a text before its tokenizer sees it, as the model's training did it."""

from __future__ import annotations

import string
from collections.abc import Callable

from mmsearch.retrieval.encoders.model_directory import Clean

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def cleaner(name: Clean | None) -> Callable[[str], str]:
    """The function of that name: text in, clean text out.

    ftfy:         mended encoding, no HTML entities, single spaces.
    ftfy-lower:   the same in lower case, as CLIP does it.
    canonicalize: the same without punctuation, as SigLIP does it.

    >>> cleaner("canonicalize")("  A dog &amp; a CAT, on the_beach! ")
    'a dog a cat on the beach'
    """
    return {None: _unchanged, "ftfy": _ftfy, "ftfy-lower": _ftfy_lower, "canonicalize": _canonicalize}[name]


def _unchanged(text: str) -> str:
    return text


def _ftfy(text: str) -> str:
    return _single_spaces(_mended(text))


def _ftfy_lower(text: str) -> str:
    return _ftfy(text).lower()


def _canonicalize(text: str) -> str:
    return _single_spaces(_mended(text).replace("_", " ").translate(_NO_PUNCTUATION).lower())


def _mended(text: str) -> str:
    # ftfy changes nothing in plain ASCII, and importing it costs as much as embedding a short text.
    if text.isascii() and text.isprintable() and "&" not in text:
        return text
    import html

    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def _single_spaces(text: str) -> str:
    return " ".join(text.split())
