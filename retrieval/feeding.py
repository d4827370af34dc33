"""Where files are read while the towers compute: on threads of this process, or in processes of their own.

Threads suffice where the towers take the processor anyway. A GPU waits for photos, and threads that decode them share
one interpreter; so then each worker is a process, which puts pixels into memory that the GPU copies from by itself.
"""

from __future__ import annotations

import mmap
import os
import queue
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import ReaderDied
from mmsearch.retrieval.decode import decode
from mmsearch.retrieval.decode.worker import Picture, Reply, Request, Setup, Want
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.types import Decoded, File, Passage, Preprocess

# A 12-megapixel JPEG at a quarter of its size; what is larger is scaled by its worker.
SLOT_BYTES = 4 << 20

# While the GPU copies from one slot of a worker, the worker fills the other.
_SLOTS = 2

# Not `-m`: what is pickled must be of the module by its name.
_WORKER = "from mmsearch.retrieval.decode.worker import main; main()"

_PATIENCE_S = 5.0


class Feed(Protocol):
    """Reads files, on as many threads as call it."""

    def decode(self, file: File, manifest: Sequence[Passage], pixels: bool) -> Decoded:
        """What a file holds; without its pixels where they are not wanted. Raises Unreadable and OSError."""

    def stack(self, pixels: Sequence[Any]) -> Any:
        """The pixels of several photos as what Encoder.images takes."""

    def close(self) -> None:
        """End what was started for reading."""


class LocalFeed:
    """Reads each file on the thread that asks for it."""

    def __init__(
        self, preprocess: Preprocess, spans: Callable[[str], list[tuple[int, int]]], max_megapixels: float
    ) -> None:
        self._preprocess = preprocess
        self._spans = spans
        self._max_megapixels = max_megapixels

    def decode(self, file: File, manifest: Sequence[Passage], pixels: bool) -> Decoded:
        """What a file holds; without its pixels where they are not wanted. Raises Unreadable and OSError."""
        return decode(
            file,
            preprocess=self._preprocess,
            spans=self._spans,
            manifest=manifest,
            max_megapixels=self._max_megapixels,
            pixels=pixels,
        )

    def stack(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The pixels of several photos, (N, S, S, 3)."""
        return np.stack(pixels)

    def close(self) -> None:
        """Nothing was started."""


@contextmanager
def feed_for(place: str, model: Path, encoder: Encoder, max_megapixels: float, workers: int) -> Iterator[Feed]:
    """The feed of the encoder of the model in a directory: processes where it computes on a GPU, else threads."""
    feed: Feed
    if place == "cpu":
        feed = LocalFeed(encoder.card.preprocess, encoder.spans, max_megapixels)
    else:
        from mmsearch.retrieval.torch_feeding import finisher

        feed = WorkerFeed(
            model, finisher(place, encoder.card.preprocess), max_megapixels=max_megapixels, workers=workers
        )
    try:
        yield feed
    finally:
        feed.close()


class Finisher(Protocol):
    """Makes the model's input of what a worker put into its slot."""

    def adopt(self, memory: NDArray[np.uint8]) -> None:
        """Take note of the memory in which all slots lie."""

    def want(self) -> Want:
        """What workers shall put into the slot for the next photo."""

    def finish(self, slot: NDArray[np.uint8], picture: Picture) -> Any:
        """The model's input (S, S, 3) of a picture; the slot may be filled anew when this returns.

        ValueError where it cannot: the file is then read again, for its pixels.
        """

    def stack(self, pixels: Sequence[Any]) -> Any:
        """Several inputs as what Encoder.images takes."""

    def close(self) -> None:
        """Forget the memory."""


@dataclass(slots=True)
class _Worker:
    """A process that reads, the socket to it, and those of its slots that are free."""

    process: subprocess.Popen[bytes]
    connection: Connection
    slots: queue.SimpleQueue[tuple[int, NDArray[np.uint8]]] = field(default_factory=queue.SimpleQueue)

    def ask(self, request: Request) -> Reply:
        try:
            self.connection.send(request)
            reply: Reply = self.connection.recv()
        except (EOFError, OSError) as error:
            raise ReaderDied(pid=self.process.pid, path=request.file.path, how=self._end()) from error
        return reply

    def _end(self) -> str:
        try:
            code = self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            return "does not answer"
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


class WorkerFeed:
    """Reads each file in one of several processes.

    model:    directory of the model whose input is made; each process has its tokenizer.
    finisher: makes the input of what a process put into the shared memory.

    ReaderDied where a process ends before its answer. The processes end with this one, however that ends.
    """

    def __init__(
        self, model: Path, finisher: Finisher, *, max_megapixels: float, workers: int, slot_bytes: int = SLOT_BYTES
    ) -> None:
        self._finisher = finisher
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        with _shared_file(workers * _SLOTS * slot_bytes) as file:
            self._map = mmap.mmap(file.fileno(), 0)
            memory = np.frombuffer(self._map, np.uint8)
            finisher.adopt(memory)
            self._workers = [_start(file.fileno()) for _ in range(workers)]
        slots = enumerate(memory.reshape(-1, slot_bytes))
        for worker in self._workers:
            worker.connection.send(Setup(model, max_megapixels, slot_bytes))
            for _ in range(_SLOTS):
                worker.slots.put(next(slots))
            self._idle.put(worker)

    def decode(self, file: File, manifest: Sequence[Passage], pixels: bool) -> Decoded:
        """What a file holds; without its pixels where they are not wanted. Raises Unreadable, OSError, ReaderDied."""
        want = self._finisher.want() if pixels else "nothing"
        try:
            return self._read(file, tuple(manifest), want)
        except ValueError:
            if want == "pixels":
                raise
            return self._read(file, tuple(manifest), "pixels")

    def stack(self, pixels: Sequence[Any]) -> Any:
        """The pixels of several photos as what Encoder.images takes."""
        return self._finisher.stack(pixels)

    def close(self) -> None:
        """End the processes. Closing twice is allowed."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            try:
                worker.process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        if self._workers:
            self._finisher.close()
        self._workers = []

    def _read(self, file: File, manifest: tuple[Passage, ...], want: Want) -> Decoded:
        worker = self._idle.get()
        try:
            number, slot = worker.slots.get()
            try:
                reply = worker.ask(Request(number, file, manifest, want))
            except BaseException:
                worker.slots.put((number, slot))
                raise
        finally:
            self._idle.put(worker)  # one that died tells the next thread as well
        try:
            if reply.error is not None or reply.decoded is None:
                raise reply.error or RuntimeError("a worker answered nothing")
            if reply.picture is None:
                return reply.decoded
            return replace(reply.decoded, pixels=self._finisher.finish(slot, reply.picture))
        finally:
            worker.slots.put((number, slot))


def _shared_file(size: int) -> Any:
    """An open file of that size without a name; in memory, and not in /dev/shm, which is small in many containers."""
    has_memory = hasattr(os, "memfd_create")
    file: Any = open(os.memfd_create("mmsearch"), "r+b") if has_memory else tempfile.TemporaryFile()  # noqa: PTH123, SIM115
    file.truncate(size)
    return file


def _start(memory: int) -> _Worker:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(theirs.fileno()), str(memory)],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), memory),
            start_new_session=True,  # Ctrl-C is for this process, which then ends the others
        )
    return _Worker(process, Connection(ours.detach()))
