"""Vectors as CLIP makes them, from random numbers alone: pictures and texts in two cones of one space.

An orthonormal basis of 512 axes: one is the centre of the pictures' cone, one that of the texts', 256 carry what is
meant, 128 what only texts have. What is meant are clusters within clusters, some popular and most not, on a falling
spectrum. Checks (tests hold them): mean cosine of two pictures .53, of a picture and a text .11, of a text and its
nearest picture about .3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

DIM, MEANT, TEXT_ONLY = 512, 256, 128
COARSE, FINE = 64, 4096


class Space:
    """One space, by its seed. Everything is made on the device, a chunk at a time; a chunk depends on its number."""

    def __init__(self, seed: int = 0, device: str = "cpu", chunk: int = 250_000) -> None:
        self.device, self.chunk, self._seed = device, chunk, seed
        rng = self._generator(0)
        basis, _ = torch.linalg.qr(self._normal(rng, DIM, DIM))
        self._picture_centre, self._text_centre = basis[:, 0], basis[:, 1]
        self._meant = basis[:, 2 : 2 + MEANT].T
        self._text_only = basis[:, 2 + MEANT : 2 + MEANT + TEXT_ONLY].T
        spectrum = (torch.arange(MEANT, device=device) + 4.0) ** -0.45
        self._spectrum = spectrum / spectrum.norm() * MEANT**0.5
        parents = torch.randint(COARSE, (FINE,), generator=rng, device=device)
        self._clusters = 0.75 * self._normal(rng, COARSE, MEANT)[parents] + 0.66 * self._normal(rng, FINE, MEANT)
        popularity = torch.rand(FINE, generator=rng, device=device) ** (-1 / 1.5)  # Pareto
        self._popularity = popularity / popularity.sum()

    def pictures(self, rows: int) -> Iterator[Tensor]:
        """(n, DIM) float16 unit rows of pictures, chunk after chunk, rows of them."""
        for start in range(0, rows, self.chunk):
            yield self._pictures(start // self.chunk, min(self.chunk, rows - start)).half()

    def text_queries(self, count: int, rows: int) -> Tensor:
        """(count, DIM) float32 unit rows of texts, each about one of the first rows pictures."""
        rng = self._generator(-1)
        code = 0.6 * self._asked_for(count, rows) + 0.55 * self._noise(rng, count, MEANT)
        text_only = self._noise(rng, count, TEXT_ONLY) @ self._text_only
        middle = 0.8 * self._text_centre + 0.15 * self._picture_centre
        return normalize(middle + 0.5 * code @ self._meant + 0.35 * text_only, dim=1)

    def picture_queries(self, count: int, rows: int) -> Tensor:
        """(count, DIM) float32 unit rows of pictures, each like one of the first rows pictures."""
        rng = self._generator(-2)
        return self._in_cone(0.9 * self._asked_for(count, rows) + 0.4 * self._noise(rng, count, MEANT), rng)

    def _pictures(self, number: int, count: int) -> Tensor:
        rng = self._generator(1 + number)
        return self._in_cone(self._codes(rng, count), rng)

    def _in_cone(self, code: Tensor, rng: Any) -> Tensor:
        noise = self._noise(rng, len(code), DIM)
        return normalize(0.72 * self._picture_centre + 0.62 * code @ self._meant + 0.28 * noise, dim=1)

    def _codes(self, rng: Any, count: int) -> Tensor:
        """(count, MEANT) unit codes of what is meant."""
        chosen = torch.multinomial(self._popularity, count, replacement=True, generator=rng)
        return normalize(
            (0.72 * self._clusters[chosen] + 0.7 * self._normal(rng, count, MEANT)) * self._spectrum, dim=1
        )

    def _asked_for(self, count: int, rows: int) -> Tensor:
        """The codes of pictures of the first chunk."""
        codes = self._codes(self._generator(1), min(self.chunk, rows))
        return codes[torch.randint(len(codes), (count,), generator=self._generator(-3), device=self.device)]

    def _generator(self, number: int) -> Any:
        return torch.Generator(self.device).manual_seed(1_000_003 * self._seed + number % 1_000_000)

    def _normal(self, rng: Any, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, device=self.device)

    def _noise(self, rng: Any, *shape: int) -> Tensor:
        return normalize(self._normal(rng, *shape), dim=1)
