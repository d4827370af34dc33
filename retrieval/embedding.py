"""Files become items with vectors: read on many threads, embedded in batches.

A vector is made once for each content. Rows carry a content key (the digest of a photo's bytes or of a
text), and a key that the catalogue already holds lends its vector: renamed, moved and copied files and
repeated captions cost no pass through a tower.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import Unreadable
from mmsearch.index.items import NewFailure, NewItem, NewRow
from mmsearch.retrieval import files
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.feeding import Feed, LocalFeed
from mmsearch.retrieval.types import File, Read, Task


class Embedder:
    """Reads files and gives them vectors; vectors that the catalogue holds are not made again.

    feed: where files are read; on the threads that ask if None.
    """

    def __init__(self, catalog: Catalog, encoder: Encoder, max_megapixels: float, feed: Feed | None = None) -> None:
        self._catalog = catalog
        self._encoder = encoder
        self._busy_before_s: float = getattr(encoder, "busy_s", 0.0)
        self._feed = feed or LocalFeed(encoder.card.preprocess, encoder.spans, max_megapixels)

    def read(self, task: Task) -> Read:
        """Decode one file. Safe on many threads; whatever is wrong with the file becomes the reason."""
        try:
            digest = files.digest(task.file.path)
            if _same_content(task, digest):
                return Read(task, digest)
            vector = self._known_vector(digest) if task.file.kind == "image" else None
            decoded = self._feed.decode(task.file, task.captions, vector is None)
        except Unreadable as error:
            return Read(task, reason=error.reason)
        except OSError as error:
            return Read(task, reason=error.strerror or str(error))
        return Read(task, digest, decoded, vector)

    def embed(self, reads: Sequence[Read]) -> tuple[list[NewItem], list[NewFailure]]:
        """The items and failures to record for what was read; files whose content is unchanged are in neither."""
        pictures = self._embed_pictures(reads)
        texts = self._embed_texts({p.text for read in reads if read.decoded for p in read.decoded.passages})
        items = [_item(read, tuple(_rows(read, pictures, texts))) for read in reads if read.decoded is not None]
        failures = [_failure(read) for read in reads if read.reason]
        return items, failures

    @property
    def busy_s(self) -> float | None:
        """How long a GPU has computed for this embedder, in seconds; None without one."""
        busy_s: float | None = getattr(self._encoder, "busy_s", None)
        return None if busy_s is None else busy_s - self._busy_before_s

    def _known_vector(self, digest: str) -> NDArray[np.float16] | None:
        key = _picture_key(digest)
        return self._catalog.vectors([key]).get(key)

    def _embed_pictures(self, reads: Sequence[Read]) -> dict[str, NDArray[np.float16]]:
        vectors = {read.digest: read.vector for read in reads if read.vector is not None}
        fresh = {
            read.digest: read.decoded.pixels
            for read in reads
            if read.decoded is not None and read.decoded.pixels is not None
        }
        if fresh:
            made = self._encoder.images(self._feed.stack(list(fresh.values()))).astype(np.float16)
            vectors |= dict(zip(fresh, made, strict=True))
        return vectors

    def _embed_texts(self, texts: set[str]) -> dict[str, NDArray[np.float16]]:
        keys = {text: _text_key(text) for text in sorted(texts)}
        known = self._catalog.vectors(list(keys.values()))
        fresh = [text for text, key in keys.items() if key not in known]
        if fresh:
            made = self._encoder.texts(fresh).astype(np.float16)
            known |= {keys[text]: vector for text, vector in zip(fresh, made, strict=True)}
        return {text: known[key] for text, key in keys.items()}


def _same_content(task: Task, digest: str) -> bool:
    known = task.known
    return known is not None and known.digest == digest and known.companions == task.companions


def _picture_key(digest: str) -> str:
    return f"image:{digest}"


def _text_key(text: str) -> str:
    return f"text:{hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def _rows(
    read: Read, pictures: dict[str, NDArray[np.float16]], texts: dict[str, NDArray[np.float16]]
) -> Iterator[NewRow]:
    if read.digest in pictures:
        yield NewRow("image", _picture_key(read.digest), pictures[read.digest])
    for passage in read.decoded.passages if read.decoded else ():
        yield NewRow(
            view=passage.view,
            content_key=_text_key(passage.text),
            vector=texts[passage.text],
            text=passage.text,
            start_s=passage.start_s,
            end_s=passage.end_s,
            char_start=passage.char_start,
            char_end=passage.char_end,
        )


def _item(read: Read, rows: tuple[NewRow, ...]) -> NewItem:
    file, decoded = read.task.file, read.decoded
    return NewItem(
        root_id=file.root.id,
        path=file.relative,
        kind=file.kind,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        companions=read.task.companions,
        digest=read.digest,
        taken_at=(decoded and decoded.taken_at) or _modified_at(file),
        metadata=decoded.metadata if decoded else {},
        rows=rows,
    )


def _modified_at(file: File) -> str:
    try:
        return datetime.fromtimestamp(file.mtime_ns / 1e9).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):  # a file system may claim any time
        return datetime.fromtimestamp(0).isoformat(timespec="seconds")


def _failure(read: Read) -> NewFailure:
    file = read.task.file
    return NewFailure(
        root_id=file.root.id,
        path=file.relative,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        companions=read.task.companions,
        reason=read.reason,
    )
