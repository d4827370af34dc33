"""What a library is made of: roots, items, rows, failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:  # `mmsearch --help` needs Kind, not NumPy
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["image", "text", "audio"]
View = Literal["image", "caption", "text", "audio_caption"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VIEWS: tuple[View, ...] = get_args(View)


@dataclass(frozen=True, slots=True)
class Root:
    """A folder whose files are items; items are addressed relative to it, so it can move."""

    id: int
    path: Path

    def relative(self, path: Path) -> str:
        """A path at or below this root, relative to it, with forward slashes; empty for the root itself."""
        relative = path.relative_to(self.path).as_posix()
        return "" if relative == "." else relative


@dataclass(frozen=True, slots=True)
class NewRow:
    """One vector of one view of an item, about to be stored.

    content_key: names what was embedded (a file's digest, a text's digest); equal keys have equal vectors.
    vector:      (D,) float16, unit length.
    text:        what was embedded, empty for the view `image`.
    start_s, end_s:       the stretch of a clip that a caption describes, in seconds.
    char_start, char_end: the passage of a document, in characters.
    """

    view: View
    content_key: str
    vector: NDArray[np.float16]
    text: str = ""
    start_s: float | None = None
    end_s: float | None = None
    char_start: int | None = None
    char_end: int | None = None


@dataclass(frozen=True, slots=True)
class NewItem:
    """One file, read and embedded, about to be stored in place of what its path held before.

    path:       relative to the root, with forward slashes.
    companions: a key of the sidecars and manifest rows that its captions came from.
    digest:     of the file's bytes.
    taken_at:   ISO 8601 local time of the photo or, failing that, of the file.
    """

    root_id: int
    path: str
    kind: Kind
    size_bytes: int
    mtime_ns: int
    companions: str
    digest: str
    taken_at: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[NewRow, ...] = ()


@dataclass(frozen=True, slots=True)
class NewFailure:
    """One file that was passed over, about to be written into the ledger."""

    root_id: int
    path: str
    size_bytes: int
    mtime_ns: int
    companions: str
    reason: str


class Known(NamedTuple):  # each run makes as many as there are files
    """What the catalogue remembers of a path. item_id is None for a failure."""

    item_id: int | None
    size_bytes: int
    mtime_ns: int
    companions: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """A stored file. path is absolute."""

    id: int
    path: Path
    kind: Kind
    size_bytes: int
    mtime_ns: int
    digest: str
    taken_at: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A stored row without its vector, beside the item that it belongs to."""

    id: int
    view: View
    text: str
    start_s: float | None
    end_s: float | None
    char_start: int | None
    char_end: int | None
    item: Item


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that was passed over, and why. path is absolute."""

    path: Path
    reason: str
    failed_at: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the user said of an item as an answer to a query. path is absolute, judged_at ISO 8601 in UTC."""

    query: str
    path: Path
    item_id: int
    is_good: bool
    judged_at: str


@dataclass(frozen=True, slots=True)
class ManifestCaption:
    """A caption that a manifest gives a file; start_s and end_s where it describes a stretch of a clip."""

    view: View
    text: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a library holds. uncaptioned: clips without any row, which no query can find."""

    items: Mapping[Kind, int]
    rows: Mapping[View, int]
    failures: int
    uncaptioned: int


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items may answer; empty fields let everything through.

    path_glob:     against the absolute path, or any part of it after a slash, as fnmatch does.
    after, before: ISO 8601 dates or times; after <= taken_at < before.
    """

    kinds: tuple[Kind, ...] = ()
    path_glob: str | None = None
    after: str | None = None
    before: str | None = None

    @property
    def is_open(self) -> bool:
        return not (self.kinds or self.path_glob or self.after or self.before)
