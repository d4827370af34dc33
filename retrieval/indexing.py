"""One run of indexing: what changed is read, embedded and recorded; what vanished is forgotten."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.index.items import Known, ManifestCaption, NewFailure, Root
from mmsearch.index.reader import Reader
from mmsearch.retrieval import files
from mmsearch.retrieval.types import File, IndexReport, Passage, Progress, Read, Skipped, Task

if TYPE_CHECKING:  # a run that finds nothing new reads nothing
    from mmsearch.retrieval.embedding import Embedder

DEFAULT_BATCH_SIZE = 64
GPU_BATCH_SIZE = 512

OnProgress = Callable[[Progress], None]
OnSkip = Callable[[Skipped], None]
Embedding = Callable[[], AbstractContextManager["Embedder"]]


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How to index.

    batch_size: files that are embedded together and recorded in one transaction; by default what suits the device.
    workers:    how many decode ahead of the towers; by default as many as there are cores.
    on_gpu:     whether the towers compute on a GPU; the workers are processes then.
    """

    exclude: Sequence[str] = ()
    include_hidden: bool = False
    batch_size: int | None = None
    workers: int | None = None
    on_gpu: bool = False

    @property
    def batch(self) -> int:
        return self.batch_size or (GPU_BATCH_SIZE if self.on_gpu else DEFAULT_BATCH_SIZE)

    @property
    def decoders(self) -> int:
        return self.workers or os.cpu_count() or 1

    @property
    def threads(self) -> int:
        """How many files are under way: a process decodes one while a thread takes the digest of the next."""
        return 2 * self.decoders if self.on_gpu else self.decoders


@dataclass(slots=True)
class Tally:
    """The counts of a run that is under way."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    still_failing: int = 0
    failures: list[Skipped] = field(default_factory=list)
    busy_s: float | None = None

    def report(self, seconds: float, interrupted: bool) -> IndexReport:
        return IndexReport(
            added=self.added,
            changed=self.changed,
            removed=self.removed,
            unchanged=self.unchanged,
            skipped=len(self.failures) + self.still_failing,
            seconds=seconds,
            failures=tuple(self.failures),
            interrupted=interrupted,
            device_busy=None if self.busy_s is None else self.busy_s / seconds,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What one scope asks for: tasks to read, and what the catalogue knows that is no longer there."""

    tasks: list[Task]
    gone_items: list[int]
    gone_failures: list[str]


class IndexRun:
    """Walks scopes, embeds what is new or changed, forgets what vanished. Used once.

    embedding: opens what reads and embeds files; not called where there are none to read.
    """

    def __init__(
        self,
        catalog: Reader,
        embedding: Embedding,
        options: IndexOptions,
        on_progress: OnProgress | None = None,
        on_skip: OnSkip | None = None,
    ) -> None:
        self._catalog = catalog
        self._embedding = embedding
        self._options = options
        self._on_progress = on_progress or (lambda progress: None)
        self._on_skip = on_skip or (lambda skipped: None)
        self._tally = Tally()

    def run(self, scopes: Iterable[tuple[Root, Path]], skipped: Iterable[Skipped] = ()) -> IndexReport:
        """Index every scope, a folder or file under its root. Ctrl-C ends the run and keeps what is done."""
        started = time.monotonic()
        interrupted = False
        for each in skipped:
            self._skip(each)
        try:
            plans = [(root, self._plan(root, scope)) for root, scope in scopes]
            self._embed([task for _, plan in plans for task in plan.tasks])
            # Only now: a renamed file has found its vector under the old name.
            for root, plan in plans:
                self._sweep(root, plan)
        except KeyboardInterrupt:
            interrupted = True
        return self._tally.report(time.monotonic() - started, interrupted)

    def _plan(self, root: Root, scope: Path) -> Plan:
        known = self._catalog.known(root.id)
        manifests = self._catalog.captions(root.id)
        if not root.path.exists():
            return self._absent(root, known)
        tasks: list[Task] = []
        unseen: list[str] = []  # what cannot be looked into is not taken to be gone
        for found in self._walk(root, scope) if scope.exists() else ():
            if isinstance(found, Skipped):
                unseen.append(self._skip_on_walk(root, found, known))
                continue
            captions = tuple(_manifest_captions(root, found, manifests)) if manifests else ()
            before = known.pop(found.relative, None)
            companions = files.companions_key(found, captions)
            if _is_stale(found, companions, before):
                tasks.append(Task(found, companions, captions, before))
            elif before is not None and before.item_id is None:
                self._tally.still_failing += 1
            else:
                self._tally.unchanged += 1
        gone = [path for path in known if _below(path, root.relative(scope))]
        gone = [path for path in gone if not any(_below(path, folder) for folder in unseen)]
        return Plan(
            tasks,
            [item_id for path in gone if (item_id := known[path].item_id) is not None],
            [path for path in gone if known[path].item_id is None],
        )

    def _walk(self, root: Root, scope: Path) -> Iterator[File | Skipped]:
        return files.walk(
            root,
            scope,
            exclude=self._options.exclude,
            include_hidden=self._options.include_hidden,
            excluded=self._catalog.excludes(root.id),
        )

    def _absent(self, root: Root, known: dict[str, Known]) -> Plan:
        """Nothing to do: a root that is not there may be a drive that is not mounted."""
        kept = sum(each.item_id is not None for each in known.values())
        self._skip(Skipped(root.path, f"it is not there; its {kept} items are kept until it is back or forgotten"))
        return Plan([], [], [])

    def _skip(self, skipped: Skipped) -> None:
        self._tally.failures.append(skipped)
        self._on_skip(skipped)

    def _skip_on_walk(self, root: Root, skipped: Skipped, known: dict[str, Known]) -> str:
        """Put into the ledger what the walk passed over; returns its path relative to the root."""
        relative = root.relative(skipped.path)
        before = known.get(relative)
        if before is not None and before.item_id is None:
            self._tally.still_failing += 1
        else:
            self._skip(skipped)
            self._catalog.writer.record([], [NewFailure(root.id, relative, 0, 0, "", skipped.reason)])
        return relative

    def _embed(self, tasks: list[Task]) -> None:
        done = 0
        self._on_progress(Progress(0, len(tasks), len(self._tally.failures)))
        if not tasks:
            return
        with self._embedding() as embedder, ThreadPoolExecutor(self._options.threads, "decode") as pool:
            for batch in _batches(self._read_ahead(embedder, pool, tasks), self._options.batch):
                self._record(embedder, batch)
                self._tally.busy_s = embedder.busy_s
                done += len(batch)
                self._on_progress(Progress(done, len(tasks), len(self._tally.failures)))

    def _read_ahead(self, embedder: Embedder, pool: ThreadPoolExecutor, tasks: list[Task]) -> Iterator[Read]:
        """Read tasks in order, at most two batches ahead of whoever takes them."""
        ahead = 2 * self._options.batch
        waiting: list[Future[Read]] = []
        coming = iter(tasks)
        try:
            waiting = [pool.submit(embedder.read, task) for task in islice(coming, ahead)]
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(embedder.read, task) for task in islice(coming, 1)]
        finally:
            for future in waiting:
                future.cancel()

    def _record(self, embedder: Embedder, batch: Sequence[Read]) -> None:
        items, failures = embedder.embed(batch)
        self._catalog.writer.record(items, failures)
        same = [(read.task.known, read.task.file) for read in batch if read.is_same]
        self._catalog.writer.touch(
            [(known.item_id, file.size_bytes, file.mtime_ns) for known, file in same if known and known.item_id]
        )
        for read in batch:
            if read.reason:
                self._skip(Skipped(read.task.file.path, read.reason))
        added = sum(read.decoded is not None and read.task.is_new for read in batch)
        self._tally.added += added
        self._tally.changed += len(items) - added
        self._tally.unchanged += len(same)

    def _sweep(self, root: Root, plan: Plan) -> None:
        if plan.gone_items:
            self._catalog.writer.forget(plan.gone_items)
        if plan.gone_failures:
            self._catalog.writer.clear_failures(root.id, plan.gone_failures)
        self._tally.removed += len(plan.gone_items)


def _is_stale(found: File, companions: str, before: Known | None) -> bool:
    """Whether anything that can be seen without opening a file differs from what is stored of it."""
    now = found.size_bytes, found.mtime_ns, companions
    return before is None or now != (before.size_bytes, before.mtime_ns, before.companions)


def _manifest_captions(
    root: Root, file: File, manifests: Mapping[str, tuple[ManifestCaption, ...]]
) -> Iterator[Passage]:
    """What caption files say of a file, and of the voice notes beside it."""
    for relative in (file.relative, *map(root.relative, file.companions)):
        for each in manifests.get(relative, ()):
            yield Passage(each.view, each.text, each.start_s, each.end_s)


def _below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(folder + "/")


def _batches(reads: Iterator[Read], size: int) -> Iterator[list[Read]]:
    while batch := list(islice(reads, size)):
        yield batch
