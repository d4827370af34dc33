"""What a file's name says: its kind, and which names beside it belong to it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from mmsearch.index.items import Kind

PHOTOS = [
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".avif",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
]
TEXTS = [".txt", ".md", ".markdown", ".rst", ".html", ".htm"]
CLIPS = [".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a"]
UNTIMED = (".txt", ".json")  # sidecars of photos and clips
TIMED = (".srt", ".vtt", ".lrc")  # sidecars that only a clip can have
_SPEAKING = (*UNTIMED, *TIMED, *CLIPS)  # what may say something of a file beside it

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(PHOTOS, "image"),
    **dict.fromkeys(TEXTS, "text"),
    **dict.fromkeys(CLIPS, "audio"),
}
_TAKEOUT = "supplemental-metadata"  # photo.jpg.supplemental-metadata.json, often cut short by Google Takeout


def suffix(name: str) -> str:
    """The extension in lower case, with its dot."""
    return _split(name)[1].lower()


def stem(name: str) -> str:
    """The name without its last extension."""
    return _split(name)[0]


def kind_of(name: str) -> Kind | None:
    """The kind that a file's extension promises, None for what is never an item.

    >>> kind_of("IMG_1.JPG"), kind_of("song.mp3"), kind_of("a.zip")
    ('image', 'audio', None)
    """
    head, dot, tail = name.rpartition(".")  # as suffix does, at half its cost: every file of every run is asked
    kind = _KINDS.get(dot + tail.lower())
    return kind if kind and head.strip(".") else None


def may_speak(name: str) -> bool:
    """Whether what has this name could be a sidecar of a file beside it, or the voice note of a photo."""
    return name.lower().endswith(_SPEAKING)


def sidecars(name: str, beside: Iterable[str]) -> list[str]:
    """Those of the names beside the photo or clip `name` that hold its captions, sorted.

    A sidecar is named after the stem or the full name. Where a photo and a clip share a stem,
    `stem.txt` and `stem.json` are the photo's.

    >>> sidecars("rex.jpg", ["rex.txt", "rex.jpg.json", "rex.srt", "max.txt"])
    ['rex.jpg.json', 'rex.txt']
    """
    beside = list(beside)
    photo = kind_of(name) == "image"
    shared = not photo and any(kind_of(n) == "image" and stem(n) == stem(name) for n in beside)
    after_name = UNTIMED if photo else UNTIMED + TIMED
    after_stem = TIMED if shared else after_name
    return sorted(
        other
        for other in beside
        if (_owner(other) == name and suffix(other) in after_name)
        or (_owner(other) == stem(name) and suffix(other) in after_stem)
    )


def voice_notes(photo: str, beside: Iterable[str]) -> list[str]:
    """Those of the names beside a photo that are sound recordings of the same stem, sorted."""
    return sorted(n for n in beside if kind_of(n) == "audio" and stem(n) == stem(photo))


def companions(name: str, beside: Sequence[str]) -> list[str]:
    """All names beside a file that its captions may come from, sorted; none for a text."""
    if kind_of(name) == "text":
        return []
    notes = voice_notes(name, beside) if kind_of(name) == "image" else []
    return sorted({*notes, *(s for owner in (name, *notes) for s in sidecars(owner, beside))})


def is_sidecar(text: str, beside: Iterable[str]) -> bool:
    """Whether a text is the caption of a photo or clip beside it, and so no item of its own."""
    beside = list(beside)
    return any(text in sidecars(name, beside) for name in beside if kind_of(name) in ("image", "audio"))


def family(name: str) -> str:
    """What all names that may belong together share: the name without the extensions known here.

    >>> {family(name) for name in ("a.b.jpg", "a.b.jpg.txt", "a.b.wav.srt")}
    {'a.b'}
    """
    while suffix(name) in _KINDS or suffix(name) in UNTIMED + TIMED:
        name = _owner(name)
    return name


def flaw(name: str) -> str | None:
    """Why a name cannot be stored or shown, None where it can."""
    if name.isprintable():  # which neither kind of flaw is
        return None
    if any("\ud800" <= char <= "\udfff" for char in name):
        return "its name is not UTF-8"
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
        return "its name holds a line break or another control character"
    return None


def _split(name: str) -> tuple[str, str]:
    """os.path.splitext of a name that is no path, which takes a quarter of the time."""
    head, dot, tail = name.rpartition(".")
    return (head, dot + tail) if head.strip(".") else (name, "")


def _owner(sidecar: str) -> str:
    """The name or stem that a sidecar is named after."""
    owner, _, tail = stem(sidecar).rpartition(".")
    is_takeout = suffix(sidecar) == ".json" and kind_of(owner) is not None and _TAKEOUT.startswith(tail)
    return owner if is_takeout else stem(sidecar)
