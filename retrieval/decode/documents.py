"""Text documents in passages that fit the text tower."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.index.errors import Unreadable
from mmsearch.retrieval.decode.captions import Spans
from mmsearch.retrieval.decode.reading import read_text, refusing
from mmsearch.retrieval.naming import suffix
from mmsearch.retrieval.types import Passage

_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")
_LEVELS = (_PARAGRAPH, _SENTENCE)

_UNREAD = {"head", "script", "style", "template", "noscript", "svg", "math"}
_INLINE = {
    *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font"),
    *("i", "img", "ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong"),
    *("sub", "sup", "time", "tt", "u", "var", "wbr"),
}


@dataclass(frozen=True, slots=True)
class Document:
    """text: of an HTML page what a reader sees, otherwise the file's text. title: of an HTML page."""

    text: str
    title: str | None = None


def read(path: Path) -> Document:
    """The text of a document. Unreadable where it is blank, binary or too large."""
    document = Document(read_text(path))
    if suffix(path.name) in (".html", ".htm"):
        with refusing():
            document = _page(document.text)
    if not document.text.strip():
        raise Unreadable("empty: it holds no text")
    return document


def passages(text: str, spans: Spans) -> tuple[Passage, ...]:
    """The text cut at paragraphs, sentences or, failing that, words, as many in a passage as fit the tower.

    text[char_start:char_end] is the passage's text; no character but white space is left out.
    """
    found = []
    for start, end in _packed(text, 0, len(text), _LEVELS, spans):
        part = text[start:end]
        start += len(part) - len(part.lstrip())
        if part := part.strip():
            found.append(Passage("text", part, char_start=start, char_end=start + len(part)))
    return tuple(found)


def _packed(
    text: str, start: int, end: int, levels: tuple[re.Pattern[str], ...], spans: Spans
) -> Iterator[tuple[int, int]]:
    """Stretches that cover text[start:end] and each fit the tower's context."""
    if not levels:
        yield from ((start + a, start + b) for a, b in spans(text[start:end]))
        return
    open_at = start  # where the stretch that may still grow begins
    for a, b in _pieces(text, start, end, levels[0]):
        if _fits(text[open_at:b], spans):
            continue
        if open_at < a:
            yield open_at, a
            open_at = a
            if _fits(text[a:b], spans):
                continue
        yield from _packed(text, a, b, levels[1:], spans)
        open_at = b
    if open_at < end:
        yield open_at, end


def _pieces(text: str, start: int, end: int, breaks: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """The stretches of text[start:end] between breaks; each keeps the break after it."""
    for found in breaks.finditer(text, start, end):
        if found.end() > start:
            yield start, found.end()
            start = found.end()
    if start < end:
        yield start, end


def _fits(text: str, spans: Spans) -> bool:
    return len(spans(text)) <= 1


def _page(source: str) -> Document:
    from lxml import etree, html  # type: ignore[import-untyped]

    # Parsed from bytes: a page may declare the encoding that it had before it was read.
    parser = html.HTMLParser(encoding="utf-8", huge_tree=True)
    try:
        page = html.document_fromstring(source.encode("utf-8", errors="replace"), parser=parser)
    except etree.ParserError:  # nothing in it at all
        return Document("")
    title = " ".join((page.findtext(".//title") or "").split())
    lines = (" ".join(line.split()) for line in "".join(_shown(page)).split("\n"))
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return Document(text, title or None)


def _shown(page: Any) -> Iterator[str]:
    """The pieces of text that a reader sees, a blank line around every block."""
    from lxml import etree

    unread = 0
    for event, node in etree.iterwalk(page, events=("start", "end", "comment", "pi")):
        is_block = isinstance(node.tag, str) and node.tag not in _INLINE | _UNREAD
        if event == "start":
            unread += node.tag in _UNREAD
            piece = ("\n" if node.tag == "br" else "\n\n" * is_block) + _flowing(node.text)
        else:
            unread -= node.tag in _UNREAD
            piece = "\n\n" * (is_block and node.tag != "br") + _flowing(node.tail)
        if not unread:
            yield piece


def _flowing(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "")
