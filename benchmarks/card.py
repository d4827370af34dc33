"""The device that is measured, how much of everything, and what the device does at most."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

REPEATS = 7


@dataclass(frozen=True)
class Sizes:
    """How much of everything is measured.

    compiled: the batch for which torch.compile is tried, which takes half a minute a model.
    warm_s:   how long something runs before it is timed: a card that idles is slow at first.
    """

    matrix: int = 8192
    copied_bytes: int = 8 << 30
    models: tuple[str, ...] = ("ViT-B-32", "ViT-L-14")
    batches: tuple[int, ...] = (256, 512, 1024)
    compiled: int = 512
    photos: int = 4000
    photo_side: tuple[int, int] = (4000, 3000)
    turns: int = 3
    rows: tuple[int, ...] = (1_000_000, 10_000_000)
    coarse_rows: int = 10_000_000
    queries: int = 1000
    steps: int = 10
    repeats: int = REPEATS
    warm_s: float = 0.5


QUICK = Sizes(128, 1 << 22, ("ViT-S-32",), (1,), 0, 6, (640, 480), 1, (5_000,), 5_000, 20, 1, 1, 0)


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures of some work, or why there are none: what else is measured is worth having all the same."""
    try:
        return work()
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"}


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
        """The median time of some work, after runs that do not count: two, and for a while."""
        begun, taken = time.perf_counter(), []
        while len(taken) < 2 or time.perf_counter() - begun < self.sizes.warm_s:
            taken.append(self._once(work))
        return statistics.median(self._once(work) for _ in range(self.sizes.repeats))

    def _once(self, work: Callable[[], object]) -> float:
        self.wait()
        begun = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - begun

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def empty(self) -> None:
        if self.on_gpu:
            torch.cuda.empty_cache()

    @property
    def ceilings(self) -> dict[str, float]:
        """bf16 matrix products in TFLOP/s; bytes a second read and written by a copy, and read by a sum, in GB/s, and
        the greater of both."""
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
        copied, read = 2 * values.nbytes / copy_s / 1e9, values.nbytes / sum_s / 1e9
        return {
            "bf16_tflops": round(2 * side**3 / product_s / 1e12, 4),
            "copy_gb_s": round(copied, 1),
            "read_gb_s": round(read, 1),
            "memory_gb_s": round(max(copied, read), 1),
        }
