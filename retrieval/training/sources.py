"""Readers of training photos: caption tables, folders by label, label tables and tar shards.

Every reader yields `Photo` records; opening the pixels waits until they are needed.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True, slots=True)
class Photo:
    """One training photo.

    key:      unique within its source.
    path:     the file that holds it: the photo itself, or a tar shard.
    split:    "train", "dev" (never trained on) or "held" (kept out of a labelled set).
    label:    class name as words, "" where there is none.
    captions: sentences that describe it.
    member:   name inside the tar shard, "" for a plain file.
    """

    key: str
    path: Path
    split: str = "train"
    label: str = ""
    captions: tuple[str, ...] = ()
    member: str = ""

    def read(self) -> bytes:
        """The encoded bytes of the photo."""
        if not self.member:
            return self.path.read_bytes()
        with tarfile.open(self.path) as shard:
            stream = shard.extractfile(self.member)
            if stream is None:
                raise FileNotFoundError(f"{self.path} has no file {self.member}")
            return stream.read()


@dataclass(frozen=True, slots=True)
class Source:
    """Where photos come from, as a recipe states it.

    kind:    "captions" (a CSV of path,caption), "folders" (LABEL/photo), "labels" (a folder with labels.tsv)
             or "shards" (tar files of NAME.jpg beside NAME.txt or NAME.json).
    path:    the CSV or folder, relative to the data root.
    images:  folder of the photos of a CSV, relative to the data root ("" means the CSV's own).
    pattern: regular expression whose first group in labels.tsv's second column is the label.
    names:   file of `code<TAB>name` that turns labels into words.
    hold:    share of the photos kept out of training (split "held"), chosen by a hash of the key.
    label:   the label of all photos of a source without folders or pattern.
    most:    at most so many photos, chosen by a hash of the key; 0 means all.
    share:   the source's share of the photos drawn in training; sources of share 0 divide what is left by their size.
    """

    name: str
    kind: str
    path: str
    images: str = ""
    pattern: str = ""
    names: str = ""
    label: str = ""
    hold: float = 0.0
    most: int = 0
    share: float = 0.0


def share(key: str) -> float:
    """A number in [0, 1) that depends on the key alone, so that splits survive added photos.

    >>> share("a") == share("a") and 0 <= share("a") < 1
    True
    """
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


def read_source(source: Source, root: Path) -> list[Photo]:
    """All photos of a source, sorted by key; held-out ones are marked, surplus ones dropped."""
    readers = {"captions": _captions, "folders": _folders, "labels": _labels, "shards": _shards}
    if source.kind not in readers:
        raise ValueError(f"source {source.name}: kind is {source.kind!r}; it is one of {', '.join(readers)}")
    photos = sorted(readers[source.kind](source, root), key=lambda photo: photo.key)
    if source.most and len(photos) > source.most:
        chosen = sorted(photos, key=lambda photo: share("most" + photo.key))[: source.most]
        photos = sorted(chosen, key=lambda photo: photo.key)
    return [_held(photo, source.hold) for photo in photos]


def _held(photo: Photo, hold: float) -> Photo:
    if photo.split != "train" or share(photo.key) >= hold:
        return photo
    return Photo(photo.key, photo.path, "held", photo.label, photo.captions, photo.member)


def _captions(source: Source, root: Path) -> Iterator[Photo]:
    """Rows of a CSV with columns image (or path), caption and, optionally, split."""
    table = root / source.path
    folder = root / source.images if source.images else table.parent
    grouped: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    with table.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            name = row.get("image") or row.get("path")
            caption = row.get("caption")
            if not name or not caption:
                raise ValueError(f"{table} line {number}: needs the columns path (or image) and caption")
            grouped.setdefault(name, []).append(caption.strip())
            splits[name] = row.get("split") or "train"
    for name, captions in grouped.items():
        yield Photo(name, folder / name, splits[name], captions=tuple(captions))


def _folders(source: Source, root: Path) -> Iterator[Photo]:
    """Photos in FOLDER/LABEL/ (any depth below); the label is the first folder's name, or the source's own."""
    folder = root / source.path
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PHOTO_SUFFIXES:
            parts = path.relative_to(folder).parts
            label = source.label or (parts[0].replace("_", " ") if len(parts) > 1 else "")
            yield Photo("/".join(parts), path, label=label)


def _labels(source: Source, root: Path) -> Iterator[Photo]:
    """Photos named in FOLDER/labels.tsv (file, original path); `pattern` finds the label in the path."""
    folder = root / source.path
    names = _names(root / source.names) if source.names else {}
    for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines():
        name, _, origin = line.partition("\t")
        found = re.search(source.pattern, origin) if source.pattern else None
        label = names.get(found[1], found[1]) if found else source.label
        yield Photo(name, folder / name, label=re.sub(r"[_\s]+", " ", label).strip())


def _names(path: Path) -> dict[str, str]:
    pairs = (line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line)
    return {code: name.split(",")[0].strip() for code, name in pairs}


def _shards(source: Source, root: Path) -> Iterator[Photo]:
    """NAME.jpg of each tar with captions from NAME.txt (a line each) or NAME.json (caption, label, split)."""
    for path in sorted((root / source.path).glob("*.tar")):
        with tarfile.open(path) as shard:
            members = {member.name: member for member in shard.getmembers() if member.isfile()}
            for name in members:
                stem, _, suffix = name.rpartition(".")
                if f".{suffix.lower()}" in PHOTO_SUFFIXES:
                    facts = _facts(shard, members, stem)
                    captions = tuple(str(facts.get("caption", "")).strip().splitlines())
                    yield Photo(
                        f"{path.name}/{stem}", path, str(facts.get("split", "train")),
                        str(facts.get("label", "")), captions, name,
                    )  # fmt: skip


def _facts(shard: tarfile.TarFile, members: dict[str, tarfile.TarInfo], stem: str) -> dict[str, object]:
    for suffix in ("json", "txt"):
        member = members.get(f"{stem}.{suffix}")
        stream = shard.extractfile(member) if member else None
        if stream is not None:
            text = stream.read().decode("utf-8")
            return dict(json.loads(text)) if suffix == "json" else {"caption": text}
    return {}
