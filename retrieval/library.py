"""The one orchestrator: a library is opened, indexed into, and asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import NotIndexed, UsageError
from mmsearch.index.items import Failure, Judgement, Root
from mmsearch.index.lock import index_lock
from mmsearch.index.reader import Reader
from mmsearch.retrieval import hubs, queries, scopes
from mmsearch.retrieval.answering import Answers
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.feedback import judging
from mmsearch.retrieval.feedback.judging import Feedback
from mmsearch.retrieval.opening import (
    VECTORS_NAME,
    Model,
    Towers,
    bind,
    choose,
    default_path,
    open_catalog,
    opened_embedder,
)
from mmsearch.retrieval.paging import Page, PageOptions
from mmsearch.retrieval.scopes import absolute
from mmsearch.retrieval.types import Hits, IndexReport, Status

if TYPE_CHECKING:
    from mmsearch.index.indexes import Indexes
    from mmsearch.retrieval.feedback.fusion import UserFusion
    from mmsearch.retrieval.indexing import OnProgress, OnSkip


class Library:
    """Photos, texts and sound captions under one roof, searchable by meaning.

    Made by `Library.open`; usable from many threads; a context manager. Another process may index into
    the same library meanwhile: queries see its work as it is committed.
    """

    def __init__(self, path: Path, catalog: Reader, model: Model) -> None:
        self.path = path
        self.card = model.card
        self._model = model
        self._catalog = catalog
        self._towers = Towers(model.name)
        self._answers = Answers(catalog, path, model)

    @classmethod
    def open(
        cls,
        path: Path | str | None = None,
        *,
        model: str | None = None,
        device: str = "auto",
        create: bool = True,
        switch_model: bool = False,
    ) -> Library:
        """Open the library at path, or make it there.

        path:   default_path() if None.
        model:  a name or a model directory; if None MMSEARCH_MODEL, else the library's own, else `bundled`.
        device: auto, cpu, cuda (all GPUs), cuda:N or several of these, `cuda:0,cuda:1`. Where a GPU is named, searches
                run on it as well, on the first of several.
        switch_model: let the model differ from the library's, for an `index(rebuild=True)` to follow.

        Raises LibraryNotFound (with create=False), LibraryDamaged, SchemaTooNew, ModelNotFound,
        ModelMismatch and DeviceUnavailable.
        """
        path = absolute(path if path is not None else default_path())
        catalog = open_catalog(path, create)
        try:
            return cls(path, catalog, choose(catalog, model, device, switch_model))
        except BaseException:
            catalog.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back files, sessions and device memory. Closing twice is allowed."""
        self._towers.close()
        self._answers.close()
        self._catalog.close()

    @property
    def encoder(self) -> Encoder:
        """The towers on the library's device, loaded when first needed."""
        return self._towers.on(self._model.device)

    @property
    def _indexes(self) -> Indexes:
        return self._answers.indexes

    @property
    def _query_encoder(self) -> Encoder:
        """The towers for one query: unless a device was named the CPU, which is ready before torch is imported."""
        return self._towers.on("cpu" if self._model.device == "auto" else self._model.device)

    def index(
        self,
        paths: Iterable[Path | str] = (),
        *,
        captions: Sequence[Path | str] = (),
        exclude: Sequence[str] = (),
        include_hidden: bool = False,
        batch_size: int | None = None,
        workers: int | None = None,
        max_megapixels: float = 100.0,
        rebuild: bool = False,
        retry: bool = False,
        on_progress: OnProgress | None = None,
        on_skip: OnSkip | None = None,
    ) -> IndexReport:
        """Bring the library up to date with folders and files; without paths, with all that it knows.

        captions:   caption files (CSV) in the shapes of `path,caption`, Clotho and AudioCaps; they are kept.
        exclude:    globs of names or relative paths to leave out.
        batch_size: files that are embedded and committed together.
        workers:    threads that decode, processes with a GPU; one per core by default.
        rebuild:    embed everything again, with the model that this library was opened with.
        retry:      try again what could not be read before.

        Ctrl-C ends the run early; what was committed stays. Raises LibraryBusy while another process
        indexes, UsageError for a path that is not there, BadManifest, and ModelMismatch.
        """
        from mmsearch.retrieval.indexing import IndexOptions, IndexRun  # which a query does not need

        catalog, model = self._catalog, self._model.name
        on_gpu = registry.place(model, self._model.device) != "cpu"
        options = IndexOptions(tuple(exclude), include_hidden, batch_size, workers, on_gpu)
        embedding = partial(opened_embedder, catalog, self._model, self._towers, max_megapixels, options.decoders)
        with index_lock(self.path):
            wanted = scopes.resolve(catalog, paths)
            bind(catalog, self._model, rebuild)
            for root in catalog.roots() if retry else ():
                catalog.writer.clear_failures(root.id)
            missing = scopes.take_captions(catalog, captions, wanted)
            report = IndexRun(catalog, embedding, options, on_progress, on_skip).run(wanted, missing)
            hubs.level(catalog, hubs.provide(model, self.path / VECTORS_NAME, lambda: self.encoder))
            self._settle()
        return report

    def retry_failures(self, *, on_progress: OnProgress | None = None, on_skip: OnSkip | None = None) -> IndexReport:
        """Try again what could not be read before."""
        return self.index(retry=True, on_progress=on_progress, on_skip=on_skip)

    def _bank(self) -> NDArray[np.float16] | None:
        """Vectors of captions of all kinds, where the model or the library has them."""
        return hubs.find(self._model.name, self.path / VECTORS_NAME)

    def _settle(self) -> None:
        """Write the snapshots, and take off the disk what was removed, and what was said of it."""
        if self._catalog.has_lost_judgements():
            self._catalog.writer.prune_judgements()
        self._indexes.save(self._bank)
        if not self._catalog.is_compact():
            self._catalog.writer.compact()

    def forget(self, paths: Iterable[Path | str]) -> int:
        """Remove files, folders or whole roots from the library and from its disk; returns how many items went.

        They stay forgotten until `index` names them again. The files themselves are not touched.
        Raises NotIndexed for a path of which the library knows nothing.
        """
        with index_lock(self.path):
            removed = sum(scopes.forget(self._catalog.writer, absolute(path)) for path in paths)
            self._settle()
        return removed

    def move_root(self, old: Path | str, new: Path | str) -> Root:
        """Tell the library that a root has moved; nothing is read or embedded again. Raises RootNotFound."""
        with index_lock(self.path):
            return self._catalog.writer.move_root(absolute(old), absolute(new))

    def query(self, query: str, k: int = 10, *, allow_url: bool = False, **options: Unpack[PageOptions]) -> Hits:
        """The k best answers to a text, a picture's path or URL, or a sum such as `dog + beach - people`.

        allow_url: fetch a picture whose URL is asked for.
        options:   kinds, path_glob, after, before, min_score, min_prob, rerank, explain, offset, as PageOptions says.

        The answer is a list; its `fits` says how probable it is that the library holds what was asked for.

        Raises BadQuery, and UsageError for a k or an offset that is no count and a min_prob that is no probability.
        """
        page = Page.of(k, options)
        with self._answers.made_ready():
            vectors = queries.embed_queries(self._query_encoder, [query], allow_url=allow_url)
        return self._answers.search(vectors, page)[0]

    def query_many(self, texts: Sequence[str], k: int = 10, **options: Unpack[PageOptions]) -> list[Hits]:
        """The k best answers to each of many queries; the same as asking one by one, but faster."""
        page = Page.of(k, options)
        return self._answers.search(queries.embed_queries(self.encoder, texts), page)

    def similar(self, path: Path | str, k: int = 10, **options: Unpack[PageOptions]) -> Hits:
        """The k items most like a file; a photo need not be in the library. Raises NotIndexed and BadQuery."""
        page = Page.of(k, options)
        file = absolute(path)
        item = self._catalog.item_at(file)
        if item is not None:
            vector = queries.of_item(self._catalog.rows_of(item.id))
            if vector is None:
                raise UsageError(f"{file} has no caption, so nothing is known of what it is like.")
            return self._answers.search([vector], replace(page, without=item.id))[0]
        if not file.exists():
            raise NotIndexed(path=file)
        return self._answers.search([queries.embed_picture(self._query_encoder, file)], page)[0]

    def feedback(self, query: str, *, good: Iterable[Path | str] = (), bad: Iterable[Path | str] = ()) -> Feedback:
        """Note which files fit a query and which do not; the last word on a query and a file counts.

        Raises BadQuery for a query that is not words alone, NotIndexed, and UsageError where no file is named, or one
        as good and bad at once.
        """
        return judging.note(self._catalog, query, good, bad)

    def judgements(self) -> list[Judgement]:
        """What feedback noted, by query and path."""
        return self._catalog.writer.judgements()

    def clear_feedback(self, query: str | None = None) -> int:
        """Take what feedback noted of a query, of all queries if None, off the disk; returns how many judgements went.

        Raises LibraryBusy while another process indexes.
        """
        with index_lock(self.path):
            return self._catalog.writer.clear_judgements(None if query is None else " ".join(query.split()))

    @property
    def fusion(self) -> UserFusion:
        """The order of the answers, to be trained on this library's own queries, judged, and chosen."""
        from mmsearch.retrieval.feedback.fusion import UserFusion  # which a query does not need

        return UserFusion(self._catalog.writer, self._indexes, self._answers.heads, lambda: self._query_encoder)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D) float32 unit rows of N texts."""
        return self.encoder.texts(texts)

    def encode_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """(N, D) float32 unit rows of N photos: paths, bytes, PIL images or (H, W, 3) uint8. Raises Unreadable."""
        return queries.embed_pictures(self.encoder, images)

    def roots(self) -> list[Root]:
        """The folders that this library covers."""
        return self._catalog.roots()

    def failures(self) -> list[Failure]:
        """The files that were passed over, and why."""
        return self._catalog.writer.failures()

    def status(self) -> Status:
        """What the library holds."""
        counts = self._catalog.writer.counts()
        return Status(
            path=self.path,
            model=self._model.name,
            fingerprint=self.card.fingerprint,
            dim=self.card.dim,
            roots=[root.path for root in self.roots()],
            items=counts.items,
            rows=counts.rows,
            searched_by=self._indexes.plans(),
            failures=counts.failures,
            uncaptioned=self._catalog.writer.uncaptioned(),
            size_bytes=sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
        )

    def verify(self) -> list[str]:
        """What is wrong with the library, a sentence each; empty when all is well."""
        return self._catalog.writer.problems() + self._indexes.problems()

    def repair(self) -> list[str]:
        """Mend what verify finds: damaged rows go and their files are read at the next `index`. Says what it did."""
        with index_lock(self.path):
            mended = self._catalog.writer.mend()
            if mended or self._indexes.problems():
                self._indexes.rebuild(self._bank)
                mended.append("the vector indexes were rebuilt from the catalogue")
            self._settle()
        return mended
