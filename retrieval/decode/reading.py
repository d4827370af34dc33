"""Bytes of files as data: what cannot be read becomes Unreadable, whatever went wrong."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmsearch.index.errors import Unreadable
from mmsearch.retrieval.files import failure

TEXT_LIMIT_BYTES = 20_000_000

_MARKS = (  # UTF-32 before UTF-16: its mark begins with the other's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What text files that are not UTF-8 are written in; the guess is poor when it may be anything at all.
_ENCODINGS = (
    *("cp1252", "cp932", "euc_jp", "gb18030", "big5", "euc_kr", "cp949", "cp1251", "koi8_r"),
    *("cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp874"),
)
# What a parser raises where it did not expect damage; the message would mean nothing to anybody else.
_ACCIDENTS = (struct.error, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, RecursionError)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn every exception of the block into Unreadable.

    Parsers of damaged files raise whatever they trip over (struct.error, AssertionError, RecursionError …),
    so no narrower net would hold; use it around calls of such parsers only.
    """
    try:
        yield
    except Unreadable:
        raise
    except MemoryError as error:
        raise Unreadable("too large for the free memory") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise Unreadable(failure(error)) from error
        is_accident = isinstance(error, _ACCIDENTS) or isinstance(error.__cause__, _ACCIDENTS)
        detail = "" if is_accident else " ".join(str(error).split())[:200]
        raise Unreadable(f"damaged: {detail or 'its structure is broken'}") from error


def read_text(path: Path, limit_bytes: int = TEXT_LIMIT_BYTES) -> str:
    """The text of a file, its line ends as "\\n", its byte order mark removed.

    Unreadable where it is larger than limit_bytes or holds binary data.
    """
    with refusing():
        size = path.stat().st_size
        if size > limit_bytes:
            raise Unreadable(f"{size / 1e6:.4g} MB of text; the limit is {limit_bytes / 1e6:g}")
        return text_of(path.read_bytes())


def text_of(data: bytes) -> str:
    """Bytes as text: by their mark, as UTF-8, or as the encoding that they look most like."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _checked(data[len(mark) :].decode(encoding, errors="replace"))
    try:
        return _checked(data.decode("utf-8"))
    except UnicodeDecodeError:
        return _checked(_guessed(data))


def _guessed(data: bytes) -> str:
    from charset_normalizer import from_bytes

    matches = from_bytes(data, cp_isolation=list(_ENCODINGS))
    best = matches.best()
    if best is None:
        raise Unreadable("binary data, whatever its name says")
    # Short western texts tie with their Central European reading; the western one is the likelier.
    ties = (m for m in matches if (m.chaos, m.coherence) == (best.chaos, best.coherence))
    return str(next((m for m in ties if "cp1252" in m.could_be_from_charset), best))


def _checked(text: str) -> str:
    if "\0" in text:
        raise Unreadable("binary data, whatever its name says")
    return text.replace("\r\n", "\n").replace("\r", "\n")
