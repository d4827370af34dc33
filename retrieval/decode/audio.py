"""Sound recordings: what their tags say. The sound itself is not listened to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutagen
from mutagen.id3 import ID3

from mmsearch.index.errors import Unreadable
from mmsearch.retrieval.decode.captions import is_caption, lyrics, until_the_next
from mmsearch.retrieval.decode.reading import refusing
from mmsearch.retrieval.types import Passage

# Vorbis comments, then the atoms of MP4
_DESCRIPTIONS = ("description", "comment", "desc", "ldes", "\xa9cmt")
_LYRICS = ("syncedlyrics", "lyrics", "unsyncedlyrics", "unsynced lyrics", "\xa9lyr")
_TITLES = ("title", "\xa9nam")
_MACHINE_COMMENTS = ("itun", "id3v1", "engiu", "songs-db", "cddb")  # what players store under COMM
_MILLISECONDS = 2  # SYLT: the unit of its times


@dataclass(frozen=True, slots=True)
class Clip:
    """captions: descriptions and lyrics in the tags. title: None where the tags have none."""

    captions: tuple[Passage, ...]
    title: str | None
    duration_s: float | None


def read(path: Path) -> Clip:
    """What the tags of a clip say. Unreadable where the file is no sound recording of a kind known here."""
    with refusing():
        if path.stat().st_size == 0:
            raise Unreadable("empty")
        clip = mutagen.File(path)
        if clip is None or clip.info is None:
            raise Unreadable("not a sound recording, whatever its name says")
        read_tags = _id3 if isinstance(clip.tags, ID3) else _named
        captions = tuple(row for row in read_tags(clip.tags or {}) if is_caption(row.text))
        length = getattr(clip.info, "length", None)
        return Clip(captions, _title(clip.tags or {}), round(length, 3) if length else None)


def _title(tags: Any) -> str | None:
    if not isinstance(tags, ID3):
        return next(iter(_values(tags, _TITLES)), None)
    frames: list[Any] = tags.getall("TIT2")  # type: ignore[no-untyped-call]
    return next((str(frame) for frame in frames if str(frame).strip()), None)


def _named(tags: Any) -> Iterator[Passage]:
    """Captions in tags that are a mapping from names to texts: Vorbis comments and MP4."""
    for text in _values(tags, _DESCRIPTIONS):
        yield Passage("audio_caption", text)
    for text in _values(tags, _LYRICS):
        yield from _sung(text)


def _values(tags: Any, names: Iterable[str]) -> list[str]:
    found = [value for name in names for value in _get(tags, name)]
    return [value for value in found if isinstance(value, str) and value.strip()]


def _get(tags: Any, name: str) -> list[Any]:
    try:
        values = tags.get(name)
    except ValueError:  # a name of MP4 is none that Vorbis comments allow
        return []
    return values if isinstance(values, list) else []


def _id3(tags: Any) -> Iterator[Passage]:
    for frame in tags.getall("COMM"):
        if not frame.desc.lower().startswith(_MACHINE_COMMENTS):
            yield from (Passage("audio_caption", text) for text in frame.text)
    for frame in tags.getall("TXXX"):
        if frame.desc.lower() in _DESCRIPTIONS:
            yield from (Passage("audio_caption", text) for text in frame.text)
    for frame in tags.getall("SYLT"):
        if frame.format == _MILLISECONDS:
            yield from until_the_next(((ms / 1000, text) for text, ms in frame.text), "audio_caption")
    for frame in tags.getall("USLT"):
        yield from _sung(frame.text)


def _sung(text: str) -> list[Passage]:
    return lyrics(text, "audio_caption") or [Passage("audio_caption", text)]
