"""The device that is measured, how much of everything, and what the device does at most."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

REPEATS = 7


@dataclass(frozen=True)
class Sizes:
    """How much of everything is measured."""

    matrix: int = 8192
    copied_bytes: int = 8 << 30
    models: tuple[str, ...] = ("ViT-B-32", "ViT-L-14")
    batches: tuple[int, ...] = (256, 512, 1024)
    photos: int = 2000
    photo_side: tuple[int, int] = (4000, 3000)
    rows: tuple[int, ...] = (1_000_000, 10_000_000)
    coarse_rows: int = 10_000_000
    queries: int = 1000
    steps: int = 30
    repeats: int = REPEATS


QUICK = Sizes(128, 1 << 22, ("ViT-S-32",), (1,), 6, (640, 480), (5_000,), 5_000, 20, 1, 1)


class Run:
    """The device, how much is measured, and the ceilings, which are measured when first asked for."""

    def __init__(self, device: str, sizes: Sizes, seed: int) -> None:
        self.device, self.sizes, self.seed = device, sizes, seed
        self.on_gpu = device.startswith("cuda")
        self._ceilings: dict[str, float] | None = None

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.device, "torch": torch.__version__}
        if self.on_gpu:
            card = torch.cuda.get_device_properties(self.device)
            found |= {"name": card.name, "capability": f"{card.major}.{card.minor}", "cuda": torch.version.cuda}
            found["memory_gib"] = round(card.total_memory / 2**30, 1)
        return found

    def seconds(self, work: Callable[[], object]) -> float:
        """The median time of some work, after two runs that do not count."""
        taken = []
        for _ in range(self.sizes.repeats + 2):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - begun)
        return statistics.median(taken[2:])

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def empty(self) -> None:
        if self.on_gpu:
            torch.cuda.empty_cache()

    @property
    def ceilings(self) -> dict[str, float]:
        """bf16 matrix products in TFLOP/s; bytes a second read and written by a copy, and read by a sum, in GB/s."""
        if self._ceilings is None:
            self._ceilings = self._measured()
        return self._ceilings

    def _measured(self) -> dict[str, float]:
        side = self.sizes.matrix
        # Random numbers: products of zeros run faster than any real ones.
        left, right = (torch.randn(side, side, device=self.device).bfloat16() for _ in range(2))
        product_s = self.seconds(lambda: left @ right)
        values = torch.randn(self.sizes.copied_bytes // 4, device=self.device)
        target = torch.empty_like(values)
        copy_s, sum_s = self.seconds(lambda: target.copy_(values)), self.seconds(lambda: values.sum())
        return {
            "bf16_tflops": round(2 * side**3 / product_s / 1e12, 4),
            "copy_gb_s": round(2 * values.nbytes / copy_s / 1e9, 1),
            "read_gb_s": round(values.nbytes / sum_s / 1e9, 1),
        }
