"""`Reranker`: the learned fusion over candidates that a caller holds, without a library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import BadQuery, UsageError
from mmsearch.index.lexicon import query_words
from mmsearch.retrieval import hubs
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.fusion.heads import load, shipped
from mmsearch.retrieval.fusion.signals import measure
from mmsearch.retrieval.reranking.documents import taken_apart
from mmsearch.retrieval.reranking.rows import Rows, as_candidates, embed


class Ranked(TypedDict):
    """One document of `Reranker.rank`: its place in what was given, its score, and, if wanted, itself."""

    corpus_id: int
    score: float
    text: NotRequired[Any]


class Reranker:
    """Orders documents by how well they fit a query; usable from many threads, and a context manager.

    The methods have the shape of sentence-transformers' CrossEncoder. A document is

    - a text (str),
    - a picture: a Path, the bytes of a file, a PIL image, or an array (H, W, 3) uint8,
    - or a dict with any of `image`, `caption`, `text`, `audio_caption` and `name`: a picture (a str is its path
      there), texts or lists of texts, and a name, whose words count.

    A text longer than the model's context counts as the mean of its passages; of several texts the best counts.

    >>> ranker = Reranker()  # doctest: +SKIP
    >>> ranker.rank("a dog on a beach", ["two dogs play in the sand", Path("sea.jpg")])  # doctest: +SKIP
    [{'corpus_id': 0, 'score': 1.92}, {'corpus_id': 1, 'score': -3.4}]
    """

    def __init__(self, model: str | None = None, *, device: str = "auto", head: Path | str | None = None) -> None:
        """Load the towers and the fusion.

        model:  a name or a model directory; if None MMSEARCH_MODEL, else `bundled`.
        device: auto, cpu, cuda or cuda:N.
        head:   a file of `mmsearch fusion train`; the shipped fusion if None.

        Raises ModelNotFound, ModelInvalid, DeviceUnavailable and HeadInvalid.
        """
        name = registry.chosen(model)
        self._head = shipped() if head is None else load(Path(head))
        self._encoder = registry.load(name, device=device)
        self.card = self._encoder.card
        bank = hubs.find(name, registry.find(name))
        self._bank = hubs.of_samples(self._encoder) if bank is None else bank

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back sessions and device memory."""
        self._encoder.close()

    def rank(
        self, query: str, documents: Sequence[Any], top_k: int | None = None, return_documents: bool = False
    ) -> list[Ranked]:
        """The documents, best first, the top_k best of them if given; with return_documents each as `text`.

        Scores are log odds, higher is better; they tell more of one list than across lists, for the fusion looks at
        each document among the others. The order in which documents come does not matter. Of equal documents the
        first comes first.

        Raises BadQuery for an empty query, UsageError for what is no document, and Unreadable for a picture.
        """
        if top_k is not None and top_k < 1:
            raise UsageError(f"top_k must be at least 1, but it is {top_k}.")
        target = self._targets([query])[0]
        taken = [taken_apart(document, self.card.preprocess) for document in documents]
        # Sums depend on the order of their terms, if only in the last digit.
        order = sorted(range(len(taken)), key=lambda at: (taken[at].digest, at))
        scores = self._scores(query, target, embed([taken[at] for at in order], self._encoder))
        best = sorted(zip(-scores, order, strict=True))[:top_k]
        ranked = [Ranked(corpus_id=at, score=float(-negated)) for negated, at in best]
        for each in ranked if return_documents else ():
            each["text"] = documents[each["corpus_id"]]
        return ranked

    def predict(self, pairs: Sequence[tuple[str, Any]]) -> NDArray[np.float32]:
        """(N,) float32 the score of each pair of a query and a document, as if the document were a list of its own.

        A signal that compares a document with others says nothing then; `rank` knows more, and is what to order
        documents by. Raises as rank does.
        """
        targets = self._targets([query for query, _ in pairs])
        embedded = embed([taken_apart(document, self.card.preprocess) for _, document in pairs], self._encoder)
        scores = [
            self._scores(query, target, [document])[0]
            for (query, _), target, document in zip(pairs, targets, embedded, strict=True)
        ]
        return np.array(scores, np.float32)

    def _targets(self, queries: Sequence[str]) -> NDArray[np.float32]:
        if not all(query.strip() for query in queries):
            raise BadQuery('the query is empty; ask for something, such as "a dog on a beach".')
        return self._encoder.texts(queries) if queries else np.empty((0, self.card.dim), np.float32)

    def _scores(self, query: str, target: NDArray[np.float32], documents: Sequence[Rows]) -> NDArray[np.float64]:
        if not documents:
            return np.empty(0)
        candidates = as_candidates(query, target, documents, self._bank)
        seen, vectors = self._head.seen, self._head.uses_vectors
        return self._head.score(measure(self.card, query_words(query), target, candidates, seen=seen, vectors=vectors))
