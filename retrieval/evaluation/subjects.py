"""What judged sets are made of: photos and clips with what is said of them, and photos with labels."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from mmsearch.retrieval import naming
from mmsearch.retrieval.decode import manifests
from mmsearch.retrieval.decode.manifests import Entry, Manifest
from mmsearch.retrieval.training.sources import Source, read_source

HELD_LABELLED = 0.1  # of each set of labelled photos, as the bundled model's recipe keeps them out of training


@dataclass(frozen=True, slots=True)
class Subject:
    """A photo or a clip, and what is said of it.

    name:     tells it from all others; a split or a bootstrap goes by it.
    photo:    None for a clip, of which only the captions are used.
    captions: different ones, in the order of their file; of a labelled photo the label.
    """

    name: str
    photo: Path | None
    captions: tuple[str, ...]


def read_photos(
    caption_file: Path, folder: Path | None = None, split: str | None = None
) -> tuple[list[Subject], tuple[str, ...]]:
    """The photos that a caption file names, with their captions, and the names of those that are not there.

    folder: where to look besides the folder of caption_file. split: only rows whose column `split` says so.
    Raises BadManifest.
    """
    manifest = manifests.read(caption_file)
    if split is not None:
        manifest = Manifest(tuple(entry for entry in manifest.entries if entry.split == split))
    found, absent = manifests.resolve(manifest, caption_file.parent, [] if folder is None else [folder])
    captions = {
        path: tuple(dict.fromkeys(passage.text for passage in passages if passage.view == "caption"))
        for path, passages in found.items()
        if naming.kind_of(path.name) == "image"
    }
    missing = tuple(name for name in absent if naming.kind_of(name) == "image")
    return [Subject(str(path), path, said) for path, said in captions.items() if said], missing


def read_clips(caption_file: Path) -> list[Subject]:
    """The clips of a caption file of Clotho's, AudioCaps' or the plain form; the clips need not be there."""
    captions: dict[str, list[str]] = defaultdict(list)
    for entry in manifests.read(caption_file).entries:
        captions[_clip(entry)].append(entry.passage.text)
    return [Subject(name, None, tuple(dict.fromkeys(said))) for name, said in captions.items()]


def read_labelled(folder: Path, *, held: bool) -> list[Subject]:
    """The photos of FOLDER/SET/LABEL/, with the label as words; those that the towers never saw, or all others."""
    sets = [Source(path.name, "folders", path.name, hold=HELD_LABELLED) for path in sorted(folder.iterdir())]
    photos = [replace(photo, key=f"{each.name}/{photo.key}") for each in sets for photo in read_source(each, folder)]
    return [
        Subject(photo.key, photo.path, (spoken(photo.label),)) for photo in photos if (photo.split == "held") == held
    ]


def spoken(label: str) -> str:
    """A label as a person would ask for it.

    >>> spoken("apples (pink lady)"), spoken("American Curl cat")
    ('apples', 'american curl cat')
    """
    return re.sub(r"\s*\(.*?\)", "", label).strip().lower()


def names_kind_of(label: str, asked: str) -> bool:
    """Whether a label is what was asked for, or a kind of it by its last words.

    >>> names_kind_of("beagle dog", "dog"), names_kind_of("dog", "beagle dog"), names_kind_of("hotdog", "dog")
    (True, False, False)
    """
    return f" {label}".endswith(f" {asked}")


def _clip(entry: Entry) -> str:
    # The last stem of AudioCaps is the video with the second where the clip begins; its first may be of one caption.
    return entry.stems[-1] if entry.stems else entry.name
