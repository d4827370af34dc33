"""A torch module as a tower over arrays: on a device, in batches that fit it, in the way that is quickest there."""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.index.errors import DeviceUnavailable, UsageError
from mmsearch.index.gpu_faults import faults_named, first_line, fitting
from mmsearch.retrieval.encoders import fitted

Batch = NDArray[Any] | Tensor
Rows = NDArray[np.float32]
Way = Literal["auto", "eager", "graph", "compile"]

_cuda: Any = torch.cuda  # half of what is used of it has no types

# As many files as are read for one batch. More rows would keep the matrix units no busier: those of a ViT-B-32 have
# 25,600 tokens to multiply already.
FIRST_BATCH = 512

# Less is within what two timings of the same thing differ by.
_WORTH_IT = 0.97
_TIMINGS = 5

# torch captures one graph at a time in a process.
_capturing = Lock()


def way() -> Way:
    """How towers run on a GPU, by MMSEARCH_TOWERS: `auto` (the default) measures once whether a CUDA graph is
    quicker than launching kernels one by one; `eager`, `graph` and `compile` (half a minute, at the first batch of each
    run, which is why `auto` leaves it out) say it."""
    chosen = os.environ.get("MMSEARCH_TOWERS") or "auto"
    if chosen not in ("auto", "eager", "graph", "compile"):
        raise UsageError(f"MMSEARCH_TOWERS is {chosen!r}; there are auto, eager, graph and compile")
    return cast(Way, chosen)


class Halving:
    """A tower over arrays, on as many rows at once as the device's memory allows.

    size: how many rows that is, as far as is known.
    name: of the device, the model and the tower; what fitted under a name is where the next process begins, unless
          it finds more memory free.
    free_bytes: how much was free on the device when the tower lay there.
    """

    def __init__(
        self, tower: Callable[[Any], Rows], size: int, device: str, name: Sequence[str] = (), free_bytes: int = 0
    ) -> None:
        self._tower = tower
        self._device = device
        self._name = name
        self._free_bytes = free_bytes
        self.size = min(size, (fitted.recalled(name, free_bytes) if name else None) or size)

    def __call__(self, batch: Batch) -> Rows:
        """The rows (B, D) of batch (B, ...); DeviceUnavailable where not even one row fits."""
        rows: list[Rows] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + self.size]
            made = self._made(part)
            if made is None:
                self._halve(len(part))
            else:
                rows.append(made)
                start += len(part)
        return np.concatenate(rows)

    def _made(self, part: Batch) -> Rows | None:
        """The rows of a part, None where the memory does not hold it."""
        return fitting(lambda: self._tower(part), lambda: None)

    def _halve(self, tried: int) -> None:
        if tried == 1:
            raise DeviceUnavailable(device=self._device, reason="its memory does not hold the model and one input")
        self.size = tried // 2
        if self._name:
            fitted.note(self._name, self.size, self._free_bytes)


class Tower:
    """A module on a device as a function from arrays or tensors (B, ...) to rows (B, D). One call at a time.

    graphed: the batch that a CUDA graph may be made for; None for no graph.
    busy_s:  how long the device has computed, in seconds.
    """

    def __init__(self, module: nn.Module, device: str, graphed: int | None = None) -> None:
        self._module = module.to(device)
        self._device = torch.device(device)
        self._graphed = graphed if self._on_gpu else None
        self._runs: dict[tuple[int, ...], Callable[[Tensor], Tensor]] = {}
        self._lock = Lock()
        self.busy_s = 0.0

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    def __call__(self, batch: Batch) -> Rows:
        """The rows (B, D) float32 of a batch; on a GPU torch.OutOfMemoryError where it does not fit.

        DeviceUnavailable where the GPU is lost.
        """
        with self._lock, torch.inference_mode(), faults_named(str(self._device)), self._current():
            try:
                return self._rows(batch)
            except RuntimeError:
                self._runs.clear()  # the memory of a graph may be what is missing
                raise

    def _rows(self, batch: Batch) -> Rows:
        inputs = self._taken(batch)
        run = self._run(inputs)
        with Stopwatch(self._device) as watch:
            rows = run(inputs)
        found = np.array(rows.float().cpu().numpy())  # waits for the device
        self.busy_s += watch.seconds()
        return found

    def _current(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self._device) if self._on_gpu else nullcontext()

    def _taken(self, batch: Batch) -> Tensor:
        """The batch on the device."""
        if isinstance(batch, Tensor):
            return batch.to(self._device)
        inputs = torch.from_numpy(np.ascontiguousarray(batch))
        if self._on_gpu:  # only pinned memory is copied without making the CPU wait
            return inputs.pin_memory().to(self._device, non_blocking=True)
        return inputs

    def _run(self, inputs: Tensor) -> Callable[[Tensor], Tensor]:
        """How a batch of this shape is run: only full batches are worth a graph."""
        if len(inputs) != self._graphed:
            return self._module
        shape = tuple(inputs.shape)
        if shape not in self._runs:
            self._runs[shape] = chosen(way(), self._module, inputs)
        return self._runs[shape]


def chosen(wanted: Way, module: nn.Module, inputs: Tensor) -> Callable[[Tensor], Tensor]:
    """The module, or its graph, or its compiled form; `auto` is the graph where that is quicker for these inputs."""
    if wanted == "compile":
        return compiled(module, inputs)
    if wanted == "eager":
        return module
    try:
        graph = Graphed(module, inputs)
    except RuntimeError:  # something in this model cannot be captured, or there is no memory for a second copy
        return module
    if wanted == "graph":
        return graph
    return quickest({"eager": module, "graph": graph}, inputs)


def compiled(module: nn.Module, inputs: Tensor) -> Callable[[Tensor], Tensor]:
    """The module's compiled form; after a warning the module, where there is no compiler for it."""
    run = cast(Callable[[Tensor], Tensor], torch.compile(module))
    try:
        run(inputs)
    except RuntimeError as error:  # those of the compiler are, too
        warnings.warn(f"the towers cannot be compiled, and run as they are: {first_line(error)}", stacklevel=2)
        return module
    return run


def quickest(ways: Mapping[str, Callable[[Tensor], Tensor]], inputs: Tensor) -> Callable[[Tensor], Tensor]:
    """The first way, unless another gives the same rows in surely less time."""
    first, *others = ways.values()
    expected, best, best_s = first(inputs).clone(), first, _WORTH_IT * timed(first, inputs)
    for each in others:
        agrees = torch.allclose(each(inputs), expected, atol=1e-2)
        if agrees and (took_s := timed(each, inputs)) < best_s:
            best, best_s = each, took_s
    return best


def timed(run: Callable[[Tensor], Tensor], inputs: Tensor) -> float:
    """The median time of a run, in seconds."""
    taken = []
    for _ in range(_TIMINGS):
        with Stopwatch(inputs.device) as watch:
            run(inputs)
        taken.append(watch.seconds())
    return statistics.median(taken)


class Stopwatch:
    """The time that a device takes for what it is given inside `with`; on a GPU by events in its stream."""

    def __init__(self, device: torch.device) -> None:
        self._events = [_cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []

    def __enter__(self) -> Stopwatch:
        self._begun = time.perf_counter()
        if self._events:
            self._events[0].record()
        return self

    def __exit__(self, *_: object) -> None:
        if self._events:
            self._events[1].record()
        self._took = time.perf_counter() - self._begun

    def seconds(self) -> float:
        """What it took; waits for the device."""
        if not self._events:
            return self._took
        self._events[1].synchronize()
        return float(self._events[0].elapsed_time(self._events[1])) / 1000


class Graphed:
    """A module's kernels for one shape of inputs, recorded once and launched together."""

    def __init__(self, module: nn.Module, inputs: Tensor) -> None:
        self._inputs = inputs.clone()
        beside = _cuda.Stream()
        beside.wait_stream(_cuda.current_stream())
        with _cuda.stream(beside):
            for _ in range(3):  # libraries choose their kernels in the first runs, which may not be recorded
                module(self._inputs)
        _cuda.current_stream().wait_stream(beside)
        self._graph = _cuda.CUDAGraph()
        # On a stream of this device: torch's own belongs to the device of the first graph. Other threads, which copy
        # and scale meanwhile, would otherwise be refused what a capture must not do.
        with _capturing, _cuda.graph(self._graph, stream=beside, capture_error_mode="thread_local"):
            self._rows: Tensor = module(self._inputs)

    def __call__(self, inputs: Tensor) -> Tensor:
        """The rows of the inputs; they are overwritten by the next call."""
        self._inputs.copy_(inputs)
        self._graph.replay()
        return self._rows
