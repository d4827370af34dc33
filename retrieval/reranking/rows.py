"""Documents as the rows of a library that was never made: embedded, and lined up as candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.exact import cosines
from mmsearch.index.items import VIEWS
from mmsearch.index.lexicon import bm25
from mmsearch.retrieval.candidates import Candidates
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.hubs import Bank, hubness
from mmsearch.retrieval.reranking.documents import Document
from mmsearch.retrieval.reranking.words import shared

_IMAGE = VIEWS.index("image")


@dataclass(frozen=True, slots=True)
class Rows:
    """The R rows of one document.

    vectors: (R, D) float32 unit rows. columns: (R,) int64 the place of each one's view in VIEWS.
    texts:   what each says, empty for a picture. name: of the document.
    """

    vectors: NDArray[np.float32]
    columns: NDArray[np.int64]
    texts: tuple[str, ...]
    name: str


def embed(documents: Sequence[Document], encoder: Encoder) -> list[Rows]:
    """The rows of each document; all texts go through the tower together, and so do all pictures."""
    texts = list(dict.fromkeys(text for each in documents for said in each.texts.values() for text in said))
    of_text = dict(zip(texts, encoder.texts(texts), strict=True)) if texts else {}
    pictures = [each.picture for each in documents if each.picture is not None]
    of_picture = iter(encoder.images(np.stack(pictures)) if pictures else ())
    return [_rows(each, of_text, None if each.picture is None else next(of_picture)) for each in documents]


def _rows(document: Document, of_text: Mapping[str, NDArray[np.float32]], picture: NDArray[np.float32] | None) -> Rows:
    said = [(VIEWS.index(view), text) for view, texts in document.texts.items() for text in texts]
    vectors = [of_text[text] for _, text in said]
    if picture is not None:
        said.append((_IMAGE, ""))
        vectors.append(picture)
    columns, spoken = zip(*said, strict=True)
    return Rows(np.stack(vectors), np.array(columns), spoken, document.name)


def as_candidates(query: str, target: NDArray[np.float32], documents: Sequence[Rows], bank: Bank) -> Candidates:
    """What gather would give for a library of these documents, whose place is their item's id.

    bank: vectors of captions, which tell the hubs among the rows.
    """
    owners = np.repeat(np.arange(len(documents)), [len(each.columns) for each in documents])  # (R,)
    columns = np.concatenate([each.columns for each in documents])
    vectors = np.concatenate([each.vectors for each in documents])  # (R, D)
    cosine = cosines(vectors, target)
    rows = np.full((len(documents), len(VIEWS)), -1)
    worst_first = np.lexsort((-np.arange(len(cosine)), cosine))
    rows[owners[worst_first], columns[worst_first]] = worst_first  # the last write, the best, stays
    lacking = rows < 0
    hubs = hubness(vectors.astype(np.float16), bank)  # of what a library would store
    items, names = np.arange(len(documents)), shared([each.name for each in documents], query)
    return Candidates(
        items=items,
        rows=rows,
        cosine=np.where(lacking, np.float32(np.nan), cosine[rows]),
        hubness=np.where(lacking, np.float32(np.nan), hubs[rows]),
        words=_best_words(query, documents, owners, columns),
        name=names.at(items),
        name_coverage=names.coverage(items),
        vectors=lambda column: vectors[rows[:, column]] * ~lacking[:, column, None],
    )


def _best_words(
    query: str, documents: Sequence[Rows], owners: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(C, V) BM25 of the text of each view that shares the most with the query; NaN for pictures and lacking views."""
    texts = [text for each in documents for text in each.texts]
    shares = shared(texts, query).at(np.arange(len(texts)))
    scores = bm25(shares, np.array([len(text) for text in texts]))
    scores[columns == _IMAGE] = np.nan
    best = np.full((len(documents), len(VIEWS)), np.nan, np.float32)
    np.fmax.at(best, (owners, columns), scores)
    return best
