"""The store of a library whose searches run on a GPU. What it holds and saves is that of the CPU's store."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mmsearch.index import faiss_gpu
from mmsearch.index.faiss_gpu import FaissScan
from mmsearch.index.faiss_module import faiss
from mmsearch.index.gpu_faults import first_line
from mmsearch.index.row_store import RowStore
from mmsearch.index.scan import widen
from mmsearch.index.torch_exact import TorchScan
from mmsearch.index.vectors import UNPROVEN, Named, Vectors, best_of

Form = Literal["torch", "flat", "ivfpq", "cagra", "host"]

# Below this torch searches in well under a millisecond, and to try FAISS would take seconds.
FAISS_FROM = 50_000

# Reading so many bytes takes some ten milliseconds: beyond, a search that leaves most of them out is worth its loss.
_SCANNED_BYTES = 20_000_000_000

# The towers and the products of a search need memory, too.
_USABLE = 0.8

_GRAPH_BYTES = 64 * 4 + 128 * 8  # a row's edges, and those among which they are chosen while the graph is made
_CHUNK = 100_000


def choose(rows: int, dim: int, free_bytes: int, can: Collection[Form]) -> Form:
    """How rows vectors are best held on a GPU with free_bytes, by what FAISS can do there; `host` for not at all.

    Exactly as long as that is quick and fits; then by a graph, then by coarse codes, whose answers are nearly those.
    """
    room = _USABLE * free_bytes
    exact_bytes = 2 * rows * dim
    # FAISS holds a flat index twice while it grows, and it grows with every chunk.
    exact: Form = "flat" if "flat" in can and 2 * exact_bytes <= room else "torch"
    if exact_bytes <= min(room, _SCANNED_BYTES):
        return exact
    if "cagra" in can and 2 * exact_bytes + rows * _GRAPH_BYTES <= room:
        return "cagra"
    if exact_bytes <= room:
        return exact
    if "ivfpq" in can and rows * (faiss_gpu.code_bytes(dim) + 12) <= room:
        return "ivfpq"
    return "host"


def on_device(device: str) -> type[DeviceStore]:
    """The store class whose searches run on a device, `cuda:N` (or `cpu`, by the same code)."""
    return type(f"DeviceStore[{device}]", (DeviceStore,), {"device": device})


class DeviceStore(RowStore):
    """RowStore with a copy of its vectors on a device, which names the rows that are then scored.

    The copy is made at the first search. What is added later is searched exactly beside it, what is removed is passed
    over, until a quarter has changed and the next search makes another. Answers are those of RowStore, save where
    `choose` holds the vectors coarsely. Where FAISS fails torch searches, and where the device has no room or is lost
    RowStore itself, each after a warning.
    """

    device: ClassVar[str] = "cpu"

    _base: FaissScan | None = None
    _fresh: TorchScan | None = None
    _has_room: bool = True
    _by_faiss: bool = False  # whether the copy is held by FAISS, or was to be
    _faiss_fails: bool = False

    def add(self, ids: NDArray[np.int64], vectors: Vectors) -> None:
        """Add vectors (N, D) under ids (N,) that are not stored yet. Raises DimensionMismatch."""
        super().add(ids, vectors)
        if self._fresh is not None:
            self._attempt(partial(self._fresh.add, ids, vectors))

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove the vectors of ids (N,); ids that are not stored are passed over."""
        super().remove(ids)
        for scan in self._scans():
            self._attempt(partial(scan.remove, ids))

    def prepare(self, questions: Callable[[], Vectors]) -> None:
        """Make what the CPU searches many rows by: nothing, since the device does."""

    def plan(self) -> str:
        """By what a search goes, and why."""
        return f"{self.device} (asked for)" if self._has_room else f"{super().plan()}, since {self.device} failed"

    def close(self) -> None:
        """Give back the device's memory; the next search takes it again."""
        super().close()
        for scan in self._scans():
            scan.close()
        self._base = self._fresh = None

    def _nearest(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None) -> Named | None:
        if not len(self):
            return None
        if self._is_worn():
            self.close()
        found: list[Named | None] = []
        while self._has_room and not found:
            self._attempt(lambda: found.append(self._named(queries, count, allowed)))
        return (found[0] if found else None) or super()._nearest(queries, count, allowed)

    def _scans(self) -> list[FaissScan | TorchScan]:
        return [scan for scan in (self._base, self._fresh) if scan is not None]

    def _is_worn(self) -> bool:
        if self._base is None or self._fresh is None:
            return False
        held = len(self._base) + self._base.dead
        return len(self._fresh) + self._base.dead > max(FAISS_FROM, held // 4)

    def _fill(self) -> None:
        """Copy what is stored to the device."""
        can = () if self._faiss_fails else self._can()
        form = choose(len(self), self.dim, free_bytes(self.device), can)
        if form == "host":
            raise MemoryError(f"{len(self)} vectors of {self.dim} dimensions do not fit")
        fresh = TorchScan(self.dim, self.device)
        self._by_faiss = form != "torch"
        if form == "torch":
            for ids, vectors in self._chunks():
                fresh.add(ids, vectors)
        else:
            self._base = self._frozen(form)
        self._fresh = fresh

    def _can(self) -> Collection[Form]:
        """What FAISS can hold on the device. It is only tried where it would be used."""
        if not self.device.startswith("cuda") or len(self) < FAISS_FROM:
            return ()
        found = faiss_gpu.forms(self._faiss())
        return found if found and faiss_gpu.fault(_number(self.device)) is None else ()

    _faiss = staticmethod(faiss)

    def _frozen(self, form: faiss_gpu.Form) -> FaissScan:
        index = faiss_gpu.build(
            self._faiss(), form, _number(self.device), self.dim, len(self), lambda: (part for _, part in self._chunks())
        )
        return FaissScan(np.concatenate([each.kept_ids() for each in self._segments]), index, form)

    def _chunks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """All that is stored, ids (n,) and vectors (n, D) at a time."""
        for segment in self._segments:
            kept = segment.kept()
            for start in range(0, len(kept), _CHUNK):
                part = kept[start : start + _CHUNK]
                yield segment.ids[part], widen(segment.vectors[part])

    def _named(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None) -> Named | None:
        """What the copy on the device finds, which is made if need be; None where it cannot find so many."""
        if self._fresh is None:
            self._fill()
        found = [scan.nearest(queries, count, allowed) for scan in self._scans()]
        there = [each for each in found if each is not None]
        if len(there) < len(found):
            return None
        errors = [scan.error for scan in self._scans()]
        error = UNPROVEN if UNPROVEN in errors else max(errors)
        return Named.of(best_of(there, max(each.ids.shape[1] for each in there)), np.float32(error), count)

    def _attempt(self, work: Callable[[], object]) -> None:
        """Do what the device may fail at."""
        try:
            work()
        except (MemoryError, RuntimeError) as error:  # what torch and FAISS raise is a RuntimeError
            self._step_down(error)

    def _step_down(self, error: BaseException) -> None:
        """Search by torch from now on where FAISS failed, else by the CPU."""
        self.close()
        self._has_room, self._faiss_fails = self._by_faiss, True
        how = f"by torch, not by FAISS, on {self.device}" if self._by_faiss else f"on the CPU, not on {self.device}"
        self._by_faiss = False
        warnings.warn(f"searching {len(self)} vectors {how}: {first_line(error)}", RuntimeWarning, stacklevel=2)


def free_bytes(device: str) -> int:
    """The memory that is free on a device; without end for the CPU."""
    if not device.startswith("cuda"):
        return 1 << 62
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return int(free)


def _number(device: str) -> int:
    return int(device.partition(":")[2] or 0)
