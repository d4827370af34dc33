"""Queries become vectors: parsed, their pictures read, embedded in one batch, and summed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import BadQuery, Unreadable
from mmsearch.index.items import StoredRow
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.fusion.nulls import Modality
from mmsearch.retrieval.query_language import Term, parse
from mmsearch.retrieval.types import Preprocess


@dataclass(frozen=True, slots=True)
class QueryVector:
    """A query in the shared space.

    vector:     (D,) float32, unit length: the weighted sum of all terms, subtracted ones with a negative weight.
    modality:   `image` if a picture was added, else `text`; cosines are judged by it.
    subtracted: the unit vectors of the subtracted terms, each with its modality.
    words:      what its added texts say; empty for a picture, which is looked for by its vector alone.
    """

    vector: NDArray[np.float32]
    modality: Modality = "text"
    subtracted: tuple[tuple[Modality, NDArray[np.float32]], ...] = ()
    words: str = ""


def embed_queries(encoder: Encoder, queries: Sequence[str], *, allow_url: bool = False) -> list[QueryVector]:
    """The vectors of queries as the query language reads them, in order. Raises BadQuery."""
    parsed = [parse(query) for query in queries]
    terms = [term for each in parsed for term in each]
    vectors = iter(_embed_terms(encoder, terms, allow_url))
    return [_sum([(term, next(vectors)) for term in each]) for each in parsed]


def embed_picture(encoder: Encoder, picture: Path) -> QueryVector:
    """The vector of a photo file. Raises BadQuery."""
    pixels = _pixels(picture, encoder.card.preprocess, str(picture))
    return QueryVector(encoder.images(pixels[None])[0], "image")


def embed_pictures(encoder: Encoder, pictures: Sequence[Any]) -> NDArray[np.float32]:
    """(N, D) unit rows of N photos: paths, bytes, PIL images or (H, W, 3) uint8. Raises Unreadable."""
    from mmsearch.retrieval.decode import photos

    if not pictures:
        return np.empty((0, encoder.card.dim), np.float32)
    sources = [Path(each).expanduser() if isinstance(each, str) else each for each in pictures]
    return encoder.images(np.stack([photos.load(source, encoder.card.preprocess) for source in sources]))


def of_item(rows: Sequence[tuple[StoredRow, NDArray[np.float16]]]) -> QueryVector | None:
    """The vector that stands for a stored item: its picture, or the mean of its texts; None if it has neither."""
    pictures = [vector for row, vector in rows if row.view == "image"]
    vectors = pictures or [vector for _, vector in rows]
    if not vectors:
        return None
    return QueryVector(_unit(np.mean(vectors, axis=0, dtype=np.float32)), "image" if pictures else "text")


def _embed_terms(encoder: Encoder, terms: Sequence[Term], allow_url: bool) -> list[NDArray[np.float32]]:
    """A unit vector (D,) for each term; all texts in one batch, all pictures in another."""
    texts = [term.content for term in terms if term.kind == "text"]
    pixels = [_term_pixels(term, encoder.card.preprocess, allow_url) for term in terms if term.kind != "text"]
    text_vectors = iter(encoder.texts(texts)) if texts else iter(())
    image_vectors = iter(encoder.images(np.stack(pixels))) if pixels else iter(())
    return [next(text_vectors if term.kind == "text" else image_vectors) for term in terms]


def _term_pixels(term: Term, preprocess: Preprocess, allow_url: bool) -> NDArray[np.uint8]:
    if term.kind == "image":
        return _pixels(Path(term.content).expanduser(), preprocess, term.content)
    if not allow_url:
        raise BadQuery(f"{term.content} is on the web; allow it to be fetched with --allow-url.")
    from mmsearch.retrieval.fetch import fetch  # http and ssl cost time that few queries need

    return _pixels(fetch(term.content), preprocess, term.content)


def _pixels(source: Path | bytes, preprocess: Preprocess, name: str) -> NDArray[np.uint8]:
    from mmsearch.retrieval.decode import photos  # Pillow costs time that text queries do not need

    try:
        return photos.load(source, preprocess)
    except Unreadable as error:
        raise BadQuery(f"{name} cannot be used as a query: {error.reason}") from error
    except OSError as error:
        raise BadQuery(f"{name} cannot be read: {error.strerror or error}.") from error


def _sum(terms: Sequence[tuple[Term, NDArray[np.float32]]]) -> QueryVector:
    total = _unit(np.sum([term.weight * vector for term, vector in terms], axis=0, dtype=np.float32))
    pictured = any(term.kind != "text" and term.weight > 0 for term, _ in terms)
    subtracted = tuple((_modality(term), vector) for term, vector in terms if term.weight < 0)
    words = " ".join(term.content for term, _ in terms if term.kind == "text" and term.weight > 0)
    return QueryVector(total, "image" if pictured else "text", subtracted, words)


def _modality(term: Term) -> Modality:
    return "text" if term.kind == "text" else "image"


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise BadQuery("the terms of the query cancel each other out; nothing is left to look for.")
    return (vector / length).astype(np.float32)
