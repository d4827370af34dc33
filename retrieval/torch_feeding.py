"""The last steps of a photo on a GPU: copied from pinned memory, scaled, and perhaps decoded there."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mmsearch.index.gpu_faults import faults_named, fitting
from mmsearch.retrieval.decode.photos import corner
from mmsearch.retrieval.decode.worker import Picture, Want
from mmsearch.retrieval.types import Preprocess

_cuda: Any = torch.cuda  # half of what is used of it has no types

# Photos in each turn of a trial; the first turn only starts the workers.
TURN = 128


class TorchFinisher:
    """Scales photos on a device. On a GPU beside the towers, in a stream of each thread's own.

    trial: finds out whether JPEGs are read faster when the GPU decodes them; None never lets it.
    """

    def __init__(self, device: str, preprocess: Preprocess, trial: Trial | None = None) -> None:
        self._device = torch.device(device)
        self._preprocess = preprocess
        self._trial = trial
        self._memory: NDArray[np.uint8] | None = None
        self._threads = threading.local()

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    def adopt(self, memory: NDArray[np.uint8]) -> None:
        """Pin the memory in which all slots lie, so that the GPU copies from it by itself; where that is refused the
        CPU copies, after a warning."""
        if not self._on_gpu:
            return
        with torch.cuda.device(self._device), faults_named(str(self._device)):
            code = _cuda.cudart().cudaHostRegister(memory.ctypes.data, memory.nbytes, 0)
            if not int(code):
                self._memory = memory
                return
            with suppress(RuntimeError):  # the next kernel is blamed for what was refused
                torch.zeros(1, device=self._device)
        warnings.warn(
            f"the memory of the workers is not pinned (CUDA error {int(code)}): copies are slower", stacklevel=2
        )

    def want(self) -> Want:
        """What workers shall put into the slot for the next photo."""
        return self._trial.want() if self._trial else "pixels"

    def finish(self, slot: NDArray[np.uint8], picture: Picture) -> Tensor:
        """The model's input (S, S, 3) uint8 of a picture, on the device; the slot may be filled anew afterwards.

        ValueError where a JPEG cannot be decoded there.
        """
        given = torch.from_numpy(slot[: int(np.prod(picture.shape))])
        is_whole = len(picture.shape) == 1
        with torch.inference_mode(), faults_named(str(self._device)), self._beside():
            pixels = self._decoded(given, picture) if is_whole else self._copied(given.view(picture.shape), picture)
            self._wait()
        if self._trial:
            self._trial.count("jpeg" if is_whole else "pixels")
        return pixels

    def stack(self, pixels: Sequence[Tensor]) -> Tensor:
        """The inputs of several photos, (N, S, S, 3), on the device; on the CPU where its memory does not hold them."""
        with torch.inference_mode(), faults_named(str(self._device)):
            stacked = fitting(
                lambda: torch.stack([each.to(self._device) for each in pixels]),
                lambda: torch.stack([each.cpu() for each in pixels]),
            )
            for each in pixels:
                if each.is_cuda:  # its memory belongs to another stream, which must not reuse it too early
                    each.record_stream(torch.cuda.current_stream(self._device))
        return stacked

    def close(self) -> None:
        """Unpin the memory."""
        if self._memory is not None:
            with suppress(RuntimeError), torch.cuda.device(self._device):  # a card that is lost pins nothing
                _cuda.cudart().cudaHostUnregister(self._memory.ctypes.data)
            self._memory = None

    def _beside(self) -> AbstractContextManager[Any]:
        """A stream of this thread's own, so that copies do not wait for the towers."""
        if not self._on_gpu:
            return nullcontext()
        if not hasattr(self._threads, "stream"):
            self._threads.stream = _cuda.Stream(self._device)
        return torch.cuda.stream(self._threads.stream)

    def _wait(self) -> None:
        """Wait for all that this thread asked of the GPU."""
        if self._on_gpu:
            torch.cuda.current_stream().synchronize()

    def _copied(self, given: Tensor, picture: Picture) -> Tensor:
        """The input made of pixels (H, W, 3) in a slot; on the CPU where the device's memory does not hold them."""
        # Never the slot itself, which on the CPU it would be.
        return fitting(
            lambda: self._cut(given.to(self._device, non_blocking=True, copy=True), picture.size),
            lambda: self._cut(given.clone(), picture.size),
        )

    def _decoded(self, given: Tensor, picture: Picture) -> Tensor:
        """The input made of a JPEG in a slot."""
        try:
            from torchvision.io import ImageReadMode, decode_jpeg

            self._wait()  # the decoder writes at once, also where kernels of this stream still read
            planes = decode_jpeg(given, mode=ImageReadMode.RGB, device=self._device)  # (3, H, W)
            return self._cut(turned(planes.permute(1, 2, 0), picture.orientation), picture.size)
        except (ImportError, OSError, RuntimeError) as error:  # of a torchvision without it, or a photo too large
            if self._trial:
                self._trial.fail()
            raise ValueError(f"the GPU cannot decode it: {error}") from error

    def _cut(self, pixels: Tensor, size: tuple[int, int] | None) -> Tensor:
        return pixels if size is None else scaled(pixels, size, self._preprocess)


class Trial:
    """Whether JPEGs are read faster when a GPU decodes them, found out on the photos that are read anyway.

    After a first turn each way has one; then the one with the higher rate has all the rest.
    """

    def __init__(self, turn: int = TURN, clock: Callable[[], float] = time.perf_counter) -> None:
        self._turn = turn
        self._clock = clock
        self._turns: list[Want] = ["pixels", "pixels", "jpeg"]
        self._rest: Want = "pixels"
        self._ends: list[float] = []
        self._left = turn
        self._lock = threading.Lock()

    def want(self) -> Want:
        """What workers shall do with the next photo."""
        with self._lock:
            return self._turns[0] if self._turns else self._rest

    def count(self, way: Want) -> None:
        """Take note that a photo was read in one way; the last ones of the turn before do not count."""
        with self._lock:
            if not self._turns or way != self._turns[0]:
                return
            self._left -= 1
            if not self._left:
                self._next()

    def fail(self) -> None:
        """Let the GPU decode no more."""
        with self._lock:
            self._turns, self._rest = [], "pixels"

    def _next(self) -> None:
        self._left = self._turn
        self._turns.pop(0)
        self._ends.append(self._clock())
        if not self._turns:
            started, between, ended = self._ends
            self._rest = "jpeg" if ended - between < between - started else "pixels"


def finisher(place: str, preprocess: Preprocess) -> TorchFinisher:
    """The finisher on the first device of a place; it tries the GPU's own decoder where torchvision has it."""
    device = place.split(",")[0]
    tries = device.startswith("cuda") and find_spec("torchvision") is not None
    return TorchFinisher(device, preprocess, Trial() if tries else None)


def scaled(pixels: Tensor, size: tuple[int, int], preprocess: Preprocess) -> Tensor:
    """The model's input (S, S, 3) of upright pixels (H, W, 3) uint8 that are to be scaled to size.

    As photos.scaled, but in one step from bytes to bytes; levels differ by three at most.
    """
    planes = pixels.permute(2, 0, 1)[None].float()
    resized = functional.interpolate(planes, size[::-1], mode=preprocess.interpolation, antialias=True)
    (left, top), side = corner(size, preprocess), preprocess.size
    cut = resized[0, :, top : top + side, left : left + side]
    return cut.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous()


def turned(pixels: Tensor, orientation: int) -> Tensor:
    """Pixels (H, W, 3) upright, by their EXIF orientation."""
    if orientation >= 5:
        pixels = pixels.transpose(0, 1)
    mirrored = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return pixels.flip(mirrored) if mirrored else pixels
