"""From texts to tokens: cleaning, tokenizing, and cutting what is longer than the tower's context."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmsearch.index.errors import ModelInvalid
from mmsearch.retrieval.encoders.cleaning import cleaner
from mmsearch.retrieval.encoders.model_directory import ModelDirectory

Span = tuple[int, int]

# Whatever stands between two sentences or words belongs to the one before, so that no character is lost.
_SENTENCE = re.compile(r".+?(?:[.!?…]['\")\]]*\s+|[。！？]\s*|\n\s*|\Z)", re.DOTALL)
_WORD = re.compile(r"\s*\S+\s*")


class Tokens:
    """The text input of one model. Safe to use from several threads.

    step: batches of any length are padded to a multiple of this many tokens, as far as the context allows.
    """

    def __init__(self, model: ModelDirectory, step: int = 1) -> None:
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(model.path / "tokenizer.json"))
        except Exception as error:  # nothing narrower: that is what tokenizers raises
            raise ModelInvalid(model=str(model.path), reason=f"tokenizer.json cannot be read: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._clean = cleaner(model.text.clean)
        self._pad_id = model.text.pad_id
        self._fills_context = model.text.pad == "context"
        self._context_length = model.card.context_length
        self._step = step

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """The tokens of each text, special tokens included, neither padded nor cut."""
        # File names may hold lone surrogates, which tokenizers refuses.
        clean = [self._clean(text.encode("utf-8", "replace").decode()) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean)]

    def passages(self, text: str, tokens: list[int]) -> list[list[int]]:
        """The tokens of text, or those of its spans where they are more than the context."""
        if len(tokens) <= self._context_length:
            return [tokens]
        return self.encode(text[start:end] for start, end in self.spans(text))

    def batch(self, passages: Sequence[list[int]]) -> NDArray[np.int64]:
        """(N, L) tokens of N passages, padded to the longest or to the context, as the model wants it."""
        longest = min(-(-max(map(len, passages)) // self._step) * self._step, self._context_length)
        length = self._context_length if self._fills_context else longest
        padded = np.full((len(passages), length), self._pad_id, np.int64)
        for row, passage in zip(padded, passages, strict=True):
            # Only a single character that is more tokens than the whole context is ever longer.
            row[: len(passage)] = passage[:length]
        return padded

    def spans(self, text: str) -> list[Span]:
        """Character spans, in order, that cover text and each fit the context; [] for blank text.

        Cut after sentences where that is enough, else also between words, else also inside a word.
        """
        if not text.strip():
            return []
        spans, cuts = [(0, len(text))], itertools.chain((_sentences, _words), itertools.repeat(_halves))
        while not all(fits := self._fit(text, spans)):
            cut = next(cuts)
            spans = list(itertools.chain.from_iterable(map(_keep_or(cut, text), spans, fits)))
        return self._joined(text, spans)

    def _fit(self, text: str, spans: Sequence[Span]) -> list[bool]:
        lengths = self._lengths(text, spans)
        return [
            length <= self._context_length or end - start == 1
            for (start, end), length in zip(spans, lengths, strict=True)
        ]

    def _lengths(self, text: str, spans: Sequence[Span]) -> list[int]:
        return [len(tokens) for tokens in self.encode(text[start:end] for start, end in spans)]

    def _joined(self, text: str, spans: list[Span]) -> list[Span]:
        """As few spans as neighbours can be joined to, each still fitting the context."""
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        groups: list[list[Span]] = []
        room = 0
        for span, length in zip(spans, self._lengths(text, spans), strict=True):
            if not groups or length - special > room:
                groups.append([])
                room = self._context_length - special
            groups[-1].append(span)
            room -= length - special
        wholes = [(group[0][0], group[-1][1]) for group in groups]
        # Together they can be more tokens than apart, when a merge crosses the cut.
        checked = zip(groups, wholes, self._fit(text, wholes), strict=True)
        return [span for group, whole, fits in checked for span in ([whole] if fits else group)]


def _keep_or(cut: Callable[[str, Span], list[Span]], text: str) -> Callable[[Span, bool], list[Span]]:
    return lambda span, fits: [span] if fits else cut(text, span)


def _sentences(text: str, span: Span) -> list[Span]:
    return [found.span() for found in _SENTENCE.finditer(text, *span)]


def _words(text: str, span: Span) -> list[Span]:
    return [found.span() for found in _WORD.finditer(text, *span)] or [span]


def _halves(_text: str, span: Span) -> list[Span]:
    start, end = span
    middle = (start + end) // 2
    return [(start, middle), (middle, end)]
