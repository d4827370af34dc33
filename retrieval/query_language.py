"""What a person may ask: a text, a picture, or a sum of both such as `2:dog + ./beach.jpg - people`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmsearch.index.errors import BadQuery

# A sign counts only between blanks, so that `t-shirt` and `C++` stay words; quotes protect what they hold.
_SIGN = re.compile(r'(?:^|\s)([+-])(?=\s|$)|("[^"]*")')
# `2:dog` weighs; `16:9 frame` and `10:30 train` are words.
_WEIGHT = re.compile(r"(\d+(?:\.\d+)?):(?!\d)\s*(.*)", re.DOTALL)
_PHOTO_NAME = re.compile(r"\.(jpe?g|jpe|jfif|png|webp|avif|gif|bmp|tiff?|hei[cf])$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query. weight is negative for a subtracted term."""

    kind: Literal["text", "image", "url"]
    content: str
    weight: float = 1.0


def parse(query: str, is_file: Callable[[str], bool] = lambda name: Path(name).is_file()) -> tuple[Term, ...]:
    """The terms of a query, in order; at least one of them is added rather than subtracted.

    A term is an image if it looks like a path (`./x.jpg`, `/x.jpg`, `~/x.jpg`) or is the name of an
    existing photo, a URL if it starts with http:// or https://, and a text otherwise. Raises BadQuery.

    >>> [(t.content, t.weight) for t in parse("2:dog + beach - people")]
    [('dog', 2.0), ('beach', 1.0), ('people', -1.0)]
    """
    if not query.strip():
        raise BadQuery('the query is empty; ask for something, such as "a dog on a beach".')
    if _names_photo(query.strip(), is_file):
        return (Term("image", query.strip()),)
    terms = tuple(_term(sign, part, is_file) for sign, part in _signed_parts(query))
    if all(term.weight < 0 for term in terms):
        raise BadQuery(f'"{query}" only subtracts; name something to look for, such as "beach - people".')
    return terms


def _signed_parts(query: str) -> list[tuple[float, str]]:
    """Split at the signs outside quotes. A sign before the first word belongs to that word."""
    parts: list[tuple[float, str]] = []
    sign, start = 1.0, 0
    for match in _SIGN.finditer(query):
        if match.group(1) is None:
            continue
        before = query[start : match.start(1)].strip()
        if before or start > 0:
            parts.append((sign, before))
        sign, start = (1.0 if match.group(1) == "+" else -1.0), match.end(1)
    parts.append((sign, query[start:].strip()))
    if any(not part for _, part in parts):
        raise BadQuery(f'"{query}" has a sign with nothing after it; quote a text that holds one: "\\"+\\"".')
    return parts


def _term(sign: float, part: str, is_file: Callable[[str], bool]) -> Term:
    weight = 1.0
    if match := _WEIGHT.fullmatch(part):
        weight, part = float(match.group(1)), match.group(2).strip()
    if not weight or not part:
        raise BadQuery(f'the term "{part}" has no weight or no words; a weighted term looks like 2:dog.')
    content = part[1:-1] if len(part) > 2 and part[0] == part[-1] == '"' else part
    return Term(_kind(part, is_file), content, sign * weight)


def _kind(part: str, is_file: Callable[[str], bool]) -> Literal["text", "image", "url"]:
    if re.match(r"https?://", part, re.IGNORECASE):
        return "url"
    return "image" if _names_photo(part, is_file) else "text"


def _names_photo(part: str, is_file: Callable[[str], bool]) -> bool:
    if part.startswith(("./", "../", "~/")):
        return bool(_PHOTO_NAME.search(part)) or is_file(str(Path(part).expanduser()))
    return bool(_PHOTO_NAME.search(part)) and (part.startswith("/") or is_file(part))
