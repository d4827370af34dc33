"""The values that one stage hands on to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import Kind, Known, Root, View


class File(NamedTuple):  # each run makes as many as there are files
    """A file that the walk found and that may become an item.

    relative:   to its root, with forward slashes.
    companions: sidecars beside it that may hold its captions, sorted by name.
    """

    root: Root
    relative: str
    kind: Kind
    size_bytes: int
    mtime_ns: int
    companions: tuple[Path, ...] = ()

    @property
    def path(self) -> Path:
        """Where it is. Made when it is asked for: of most files, nobody asks."""
        return self.root.path / self.relative


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was passed over, and why, in words a person understands."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that becomes one row: a caption, a caption of a stretch of a clip, or a passage of a document."""

    view: View
    text: str
    start_s: float | None = None
    end_s: float | None = None
    char_start: int | None = None
    char_end: int | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one file holds.

    pixels:   (S, S, 3) uint8 RGB at the model's input size, upright; None where the file is no photo.
    passages: what becomes rows beside the picture; may be empty.
    taken_at: ISO 8601 local time of the photo, None where the file does not say.
    metadata: camera, latitude, longitude, width, height, duration_s, title, keywords, as far as known.
    """

    pixels: NDArray[np.uint8] | None
    passages: tuple[Passage, ...] = ()
    taken_at: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """A file to look at. companions and captions are what it is captioned by; known is what was stored of it."""

    file: File
    companions: str
    captions: tuple[Passage, ...]
    known: Known | None

    @property
    def is_new(self) -> bool:
        return self.known is None or self.known.item_id is None


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was read: exactly one of decoded and reason is set, or neither if only its time had changed.

    vector: (D,) float16 of the photo where the library holds one for the same bytes.
    """

    task: Task
    digest: str = ""
    decoded: Decoded | None = None
    vector: NDArray[np.float16] | None = None
    reason: str = ""

    @property
    def is_same(self) -> bool:
        return self.decoded is None and not self.reason


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a photo becomes the input of an image tower.

    size:   side of the square input, in pixels.
    resize: `squash` both sides to size, or scale the `shortest` side to size and crop the centre.
    """

    size: int
    resize: Literal["squash", "shortest"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come. total is None while files are still being found."""

    done: int
    total: int | None
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one run of indexing did.

    failures:    what this run passed over, `skipped` of them.
    interrupted: the run was stopped early; what it had done is kept.
    device_busy: the share of the time in which the GPU computed; None without one, and where it had nothing to do.
    """

    added: int
    changed: int
    removed: int
    unchanged: int
    skipped: int
    seconds: float
    failures: tuple[Skipped, ...] = ()
    interrupted: bool = False
    device_busy: float | None = None

    @property
    def items_per_second(self) -> float:
        return (self.added + self.changed) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: an item, and the view of it that matched best.

    path:    absolute.
    score:   log odds, higher is better, to be compared within one list; without re-ranking the cosine of the best view.
    rank:    1 for the best.
    start_s, end_s: the stretch of a clip that matched, in seconds.
    snippet: the caption or passage that matched, empty for a picture.
    signals: what was measured of it, by name.
    probability: in [0, 1], that it is what was wanted; None without re-ranking.

    Of a hit that was asked to be explained (empty otherwise):
    contributions: what each signal added to the score, by name; they sum to it.
    method:        how they were found: `exact`, or `shapley` for a fusion that mixes its signals.
    reasons:       the same in words, what counts most first.
    """

    path: str
    kind: Kind
    view: View
    score: float
    rank: int
    start_s: float | None = None
    end_s: float | None = None
    snippet: str = ""
    signals: Mapping[str, float] = field(default_factory=dict)
    probability: float | None = None
    contributions: Mapping[str, float] = field(default_factory=dict)
    method: str = ""
    reasons: tuple[str, ...] = ()


class Hits(list[Hit]):
    """The answers to one query, best first, and whether they are any good.

    fits: in [0, 1], the probability that the library holds what was asked for; None where that was not learned: for
          pictures, and without re-ranking.
    """

    UNLIKELY = 0.35

    def __init__(self, hits: Iterable[Hit] = (), fits: float | None = None) -> None:
        super().__init__(hits)
        self.fits = fits

    @property
    def no_good_match(self) -> bool:
        """Whether the library most likely holds nothing that fits."""
        return self.fits is not None and self.fits < self.UNLIKELY


@dataclass(frozen=True, slots=True)
class Status:
    """What a library holds, and with what it works.

    searched_by: by what a search of a view goes, and why; without the views that have no rows.
    """

    path: Path
    model: str
    fingerprint: str
    dim: int
    roots: list[Path]
    items: Mapping[Kind, int]
    rows: Mapping[View, int]
    searched_by: Mapping[View, str]
    failures: int
    uncaptioned: list[Path]
    size_bytes: int
