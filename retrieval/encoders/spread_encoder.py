"""One encoder of several: each GPU has its own towers and takes its share of every batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.encoders.base import Encoder, ModelCard

# Fewer rows are done sooner by one GPU than handed to several.
_LEAST_SHARE = 16


class BusyEncoder(Encoder, Protocol):
    """An Encoder that knows how long its device has computed, in seconds."""

    @property
    def busy_s(self) -> float: ...


class SpreadEncoder:
    """The Encoder over encoders of the same model on several devices. Rows come in the order of what was given.

    makers: one for each device; the encoder of a device is made when it first gets a share.
    """

    def __init__(self, card: ModelCard, makers: Sequence[Callable[[], BusyEncoder]]) -> None:
        self.card = card
        self._makers = makers
        # One thread a device: it makes the encoder, so that they load side by side, and no other uses it.
        self._threads = [ThreadPoolExecutor(1, f"device-{at}") for at in range(len(makers))]
        self._encoders: list[BusyEncoder | None] = [None] * len(makers)

    @property
    def busy_s(self) -> float:
        """How long the devices have computed, in seconds, on average."""
        return sum(encoder.busy_s for encoder in self._encoders if encoder) / len(self._encoders)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D) rows of N texts. A text longer than the tower's context is the mean of its passages."""
        return self._spread(lambda encoder, part: encoder.texts(part), texts)

    def images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, D) rows of N pictures (N, S, S, 3), RGB, prepared as card.preprocess says."""
        return self._spread(lambda encoder, part: encoder.images(part), pixels)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans, in order, that cover text and each fit the tower's context; [] for blank text."""
        return self._threads[0].submit(lambda: self._at(0).spans(text)).result()

    def close(self) -> None:
        """Give back all devices' memory; the encoder cannot be used any more."""
        for thread in self._threads:
            thread.shutdown()
        for encoder in self._encoders:
            if encoder is not None:
                encoder.close()
        self._encoders = [None] * len(self._makers)

    def _spread(self, embed: Callable[[Encoder, Any], NDArray[np.float32]], given: Any) -> NDArray[np.float32]:
        shares = max(1, min(len(self._makers), len(given) // _LEAST_SHARE))
        bounds = np.linspace(0, len(given), shares + 1).astype(int).tolist()
        parts = [given[start:end] for start, end in itertools.pairwise(bounds)]
        waiting = [self._threads[at].submit(self._embed, at, embed, part) for at, part in enumerate(parts)]
        return np.concatenate([share.result() for share in waiting])

    def _embed(
        self, device: int, embed: Callable[[Encoder, Any], NDArray[np.float32]], part: Any
    ) -> NDArray[np.float32]:
        return embed(self._at(device), part)

    def _at(self, device: int) -> BusyEncoder:
        """The encoder of a device; called by that device's thread alone."""
        encoder = self._encoders[device] = self._encoders[device] or self._makers[device]()
        return encoder
