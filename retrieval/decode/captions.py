"""Captions in sidecar files: text, JSON, subtitles, lyrics."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from mmsearch.index.errors import Unreadable
from mmsearch.index.items import View
from mmsearch.retrieval.decode.reading import read_text, refusing
from mmsearch.retrieval.naming import suffix
from mmsearch.retrieval.types import Passage

Spans = Callable[[str], list[tuple[int, int]]]

# What cameras, players and programs write where a person would write a caption.
_BOILERPLATE = re.compile(
    r"""(?: [\w ]* digital\ (?:still\ )?camera | sony\ dsc | dcf\ 1\.0 | exif[_ ]jpeg(?:[_ ]picture)? | default
    | untitled | cof | dav | hdr\w* | mde | rpt | sdr | vivid | created\ (?:with|by)\ .* | creator:\ .*
    | processed\ (?:with|by)\ .* | encoded\ by\ .* | charset=.* )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_STAMP = re.compile(r"\[(\d+):(\d\d(?:[.:]\d+)?)\]")  # [mm:ss.xx] before a line of lyrics
_WORD_STAMP = re.compile(r"<\d+:\d\d(?:[.:]\d+)?>")
_OFFSET = re.compile(r"\[offset:\s*([+-]?\d+)\s*\]", re.IGNORECASE)  # milliseconds; positive is earlier
_STYLE = re.compile(r"\{\\[^}]*\}")  # {\an8} and the like in .srt


def from_sidecars(sidecars: Iterable[Path], view: View) -> list[Passage]:
    """The captions that sidecars hold, in order; a sidecar that cannot be read holds none.

    A damaged sidecar must not cost the photo or clip itself its place, and a .json beside it may well be
    something else.
    """
    found: list[Passage] = []
    for path in sidecars:
        with suppress(Unreadable), refusing():
            found += _READERS[suffix(path.name)](read_text(path), view)
    return found


def title_from(sidecars: Iterable[Path]) -> str | None:
    """The title that a .json sidecar gives, None where there is none."""
    for path in sidecars:
        with suppress(Unreadable), refusing():
            if suffix(path.name) == ".json" and (title := _words(_json(read_text(path)).get("title"))):
                return title
    return None


def is_caption(text: str) -> bool:
    """Whether a person may have written a text to describe something.

    >>> is_caption("Rex at the lake"), is_caption("OLYMPUS DIGITAL CAMERA"), is_caption("  0 ")
    (True, False, False)
    """
    return any(map(str.isalpha, text)) and not _BOILERPLATE.fullmatch(text.strip())


def fitted(passages: Iterable[Passage], spans: Spans) -> tuple[Passage, ...]:
    """Captions with their white space evened out, without blanks and repeats, split where one is longer than
    the tower's context."""
    rows: dict[Passage, None] = {}
    for passage in passages:
        text = _words(passage.text)
        for start, end in spans(text):
            if part := text[start:end].strip():
                rows[replace(passage, text=part)] = None
    return tuple(rows)


def lyrics(text: str, view: View) -> list[Passage]:
    """Lyrics in the LRC form: each line lasts until the next begins. [] where no line bears a time."""
    offset = sum(int(ms) for ms in _OFFSET.findall(text)[:1]) / 1000
    timed = [
        (max(0.0, round(_seconds(*stamp) - offset, 3)), _WORD_STAMP.sub(" ", _STAMP.sub("", line)))
        for line in text.splitlines()
        for stamp in _STAMP.findall(line)
    ]
    return until_the_next(timed, view)


def until_the_next(lines: Iterable[tuple[float, str]], view: View) -> list[Passage]:
    """Captions of lines that each last from their time, in seconds, until the next begins."""
    timed = sorted(lines, key=lambda line: line[0])
    ends = [*(start for start, _ in timed[1:]), None]
    # Not strict: without any line there still is the open end of the last.
    return [Passage(view, text.strip(), start, end) for (start, text), end in zip(timed, ends, strict=False)]


def _text(text: str, view: View) -> list[Passage]:
    return [Passage(view, text)]


def _json_captions(text: str, view: View) -> list[Passage]:
    """ "caption", "captions" (texts, or objects with "caption", "start" and "end") and "description"."""
    data = _json(text)
    several = data.get("captions")
    rows = [data, *(several if isinstance(several, list) else [several])]
    return [passage for row in rows if (passage := _json_caption(row, view))]


def _json_caption(row: Any, view: View) -> Passage | None:
    if not isinstance(row, dict):
        row = {"caption": row}
    for key in ("caption", "text", "description"):
        if caption := _words(row.get(key)):
            return Passage(view, caption, _number(row.get("start")), _number(row.get("end")))
    return None


def _json(text: str) -> dict[str, Any]:
    data = json.loads(text)
    return data if isinstance(data, dict) else {"captions": data}


def _srt(text: str, view: View) -> list[Passage]:
    return _subtitles(text, "srt", view)


def _vtt(text: str, view: View) -> list[Passage]:
    return _subtitles(text, "vtt", view)


def _subtitles(text: str, form: str, view: View) -> list[Passage]:
    import webvtt

    cues = webvtt.from_buffer(StringIO(text), format=form).captions
    return [
        Passage(view, html.unescape(_STYLE.sub("", cue.text)), start, max(start, _clock(cue.end)))
        for cue in cues
        for start in [_clock(cue.start)]
    ]


def _clock(stamp: str) -> float:
    """Seconds of hh:mm:ss.mmm."""
    hours, minutes, seconds = stamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _seconds(minutes: str, seconds: str) -> float:
    return int(minutes) * 60 + float(seconds.replace(":", "."))


def _words(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < math.inf else None


_READERS: dict[str, Callable[[str, View], list[Passage]]] = {
    ".txt": _text,
    ".json": _json_captions,
    ".srt": _srt,
    ".vtt": _vtt,
    ".lrc": lyrics,
}
