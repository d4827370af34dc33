"""Caption files: tables that say what photos and clips show and sound like.

    Clotho      file_name, caption_1 … caption_5
    AudioCaps   audiocap_id, youtube_id, start_time, caption
    plain       path (or file, file_name, image, …), caption [, kind] [, start, end] [, split]

Columns may stand in any order; others are passed over.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import cast

from mmsearch.index.errors import BadManifest, Unreadable
from mmsearch.index.items import Root, View
from mmsearch.retrieval import naming
from mmsearch.retrieval.decode.reading import read_text
from mmsearch.retrieval.files import walk
from mmsearch.retrieval.types import File, Passage

_NAMES = ("path", "file_name", "filename", "file", "image", "image_name", "photo", "audio", "clip")
_CAPTION = re.compile(r"caption(_?\d+)?")
_VIEWS = ("caption", "audio_caption")
_LIMIT_BYTES = 500_000_000
_REPORTED = 5  # wrong rows named in one message


@dataclass(frozen=True, slots=True)
class Entry:
    """One caption of a caption file.

    name:  of its file, as written.
    line:  where its row begins, from 1.
    stems: what a clip of AudioCaps may be called, likeliest first; its name is no file's.
    split: which part of a data set it belongs to, empty where the file does not say.
    """

    name: str
    passage: Passage
    line: int
    stems: tuple[str, ...] = ()
    split: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a caption file says, in its order."""

    entries: tuple[Entry, ...]


def read(path: Path) -> Manifest:
    """The captions of a caption file. BadManifest names the columns it lacks, or the lines that are wrong."""
    try:
        text = read_text(path, _LIMIT_BYTES)
        table = list(_rows(text))
    except (Unreadable, csv.Error) as error:
        raise BadManifest(path=path, reason=f"{error}.") from error
    if not table:
        raise BadManifest(path=path, reason="it is empty.")
    (_, head), *rows = table
    columns = [cell.strip().lower().replace(" ", "_") for cell in head]
    if lack := _lack(columns):
        raise BadManifest(path=path, reason=f"{lack}; its columns are: {', '.join(columns)}.")
    entries: list[Entry] = []
    wrong: list[str] = []
    for line, cells in rows:
        try:
            entries += _entries(columns, cells, line)
        except _WrongRowError as error:
            wrong.append(f"line {line}: {error}")
    if wrong:
        more = f"; and {len(wrong) - _REPORTED} more" if len(wrong) > _REPORTED else ""
        raise BadManifest(path=path, reason="; ".join(wrong[:_REPORTED]) + more + ".")
    return Manifest(tuple(entries))


def resolve(
    manifest: Manifest, base: Path, roots: Sequence[Path]
) -> tuple[dict[Path, tuple[Passage, ...]], tuple[str, ...]]:
    """The captions by the absolute path of their file, and the names for which there is no one file.

    A name is looked for below base (the caption file's folder), then below each root, then by its last part
    wherever below them exactly one file bears it. The captions of a clip are always `audio_caption`.
    """
    finder = _Finder([base, *roots])
    found: dict[Path, list[Passage]] = defaultdict(list)
    missing: dict[str, None] = {}
    for entry in manifest.entries:
        path = finder.find(entry)
        if path is None:
            missing[entry.name] = None
            continue
        is_clip = naming.kind_of(path.name) == "audio"
        found[path].append(replace(entry.passage, view="audio_caption") if is_clip else entry.passage)
    return {path: tuple(passages) for path, passages in found.items()}, tuple(missing)


class _WrongRowError(ValueError):
    """What is wrong with one row."""


class _Finder:
    """Looks for files below folders; walks them at most once, and only if it must."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100  # keeps links
        self._by_name: dict[str, set[Path]] | None = None
        self._seen: dict[tuple[str, tuple[str, ...]], Path | None] = {}

    def find(self, entry: Entry) -> Path | None:
        """The absolute path of the photo or clip of an entry, None where there is none or more than one."""
        key = (entry.name, entry.stems)
        if key not in self._seen:
            self._seen[key] = self._look(entry)
        return self._seen[key]

    def _look(self, entry: Entry) -> Path | None:
        for folder in () if entry.stems else self._folders:
            path = Path(os.path.normpath(folder / entry.name))
            if _bears_captions(path.name) and path.is_file():
                return self._as_indexed(path)
        wanted = (stem + end for stem in entry.stems for end in naming.CLIPS)
        for name in wanted if entry.stems else [Path(entry.name).name]:
            if len(paths := self._names().get(name.lower(), ())) == 1:
                return next(iter(paths))
        return None

    def _names(self) -> dict[str, set[Path]]:
        if self._by_name is None:
            self._by_name = defaultdict(set)
            for folder in reversed(self._folders):
                for found in walk(Root(0, folder), folder):
                    if isinstance(found, File) and _bears_captions(found.path.name):
                        self._by_name[found.path.name.lower()].add(self._as_indexed(found.path))
        return self._by_name

    def _as_indexed(self, path: Path) -> Path:
        """The path below the root that holds the file, where the way to it led over a link."""
        real = path.parent.resolve() / path.name
        for root in self._folders[1:]:
            if path.is_relative_to(root):
                return path
            if real.is_relative_to(root.resolve()):
                return root / real.relative_to(root.resolve())
        return path


def _bears_captions(name: str) -> bool:
    return naming.kind_of(name) in ("image", "audio")


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table, each with the line where it begins."""
    head = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    line = 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield line, cells
        line = reader.line_num + 1


def _lack(columns: Sequence[str]) -> str | None:
    """Which columns are missing, None where none is."""
    named = "youtube_id" in columns or any(name in columns for name in _NAMES)
    lacking = [
        *([] if named else ["path (or file_name, image, audio, youtube_id)"]),
        *([] if any(map(_CAPTION.fullmatch, columns)) else ["caption (or caption_1, caption_2 …)"]),
    ]
    return f"it lacks the column {' and the column '.join(lacking)}" if lacking else None


def _entries(columns: Sequence[str], cells: Sequence[str], line: int) -> Iterator[Entry]:
    """The captions of one row, several where it has several columns of them."""
    if len(cells) > len(columns):
        raise _WrongRowError(f"{len(cells)} cells for {len(columns)} columns; a caption with a comma needs quotes")
    row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
    is_audiocaps = "youtube_id" in columns
    name = row.get("youtube_id" if is_audiocaps else next(n for n in _NAMES if n in columns))
    if not name:
        raise _WrongRowError("the path is empty")
    # start_time of AudioCaps counts from the start of the video that the clip was cut from.
    start, end = (None, None) if is_audiocaps else _stretch(row)
    view: View = "audio_caption" if is_audiocaps else _view(row, name)
    for column, text in row.items():
        if text and _CAPTION.fullmatch(column):
            stems = _stems(row) if is_audiocaps else ()
            yield Entry(name, Passage(view, text, start, end), line, stems, row.get("split", ""))


def _stems(row: Mapping[str, str]) -> tuple[str, ...]:
    video = row["youtube_id"]
    others = {"": row.get("audiocap_id"), f"{video}_": row.get("start_time")}
    return (video, f"Y{video}", *(prefix + value for prefix, value in others.items() if value))


def _view(row: Mapping[str, str], name: str) -> View:
    kind = row.get("kind")
    if not kind:
        return "audio_caption" if naming.kind_of(name) == "audio" else "caption"
    if kind not in _VIEWS:
        raise _WrongRowError(f"kind is {kind!r}, neither caption nor audio_caption")
    return cast(View, kind)


def _stretch(row: Mapping[str, str]) -> tuple[float | None, float | None]:
    start, end = _seconds(row, "start"), _seconds(row, "end")
    if start is not None and end is not None and end < start:
        raise _WrongRowError(f"end is {end:g}, before start, {start:g}")
    return start, end


def _seconds(row: Mapping[str, str], column: str) -> float | None:
    written = row.get(column) or row.get(f"{column}_s")
    if not written:
        return None
    try:
        seconds = float(written)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise _WrongRowError(f"{column} is {written!r}, not a number of seconds")
    return seconds
