"""The one orchestrator: a library is opened, indexed into, and asked."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import LibraryNotFound, ModelMismatch, NotIndexed, UsageError
from mmsearch.index.indexes import Indexes, store_class
from mmsearch.index.items import Failure, Judgement, Root
from mmsearch.index.lock import index_lock
from mmsearch.retrieval import hubs, queries, scopes
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.base import Encoder, ModelCard
from mmsearch.retrieval.feedback import judging
from mmsearch.retrieval.feedback.heads import Heads
from mmsearch.retrieval.feedback.judging import Feedback
from mmsearch.retrieval.ranking import QueryVector
from mmsearch.retrieval.scopes import absolute
from mmsearch.retrieval.searching import Page, PageOptions, search
from mmsearch.retrieval.types import Hits, IndexReport, Status

if TYPE_CHECKING:
    from mmsearch.retrieval.feedback.fusion import UserFusion
    from mmsearch.retrieval.indexing import OnProgress, OnSkip

CATALOG_NAME = "catalog.sqlite"
VECTORS_NAME = "vectors"
HEADS_NAME = "fusion"


def default_path() -> Path:
    """Where the library is when nobody says: MMSEARCH_LIBRARY, or the user's data directory."""
    if named := os.environ.get("MMSEARCH_LIBRARY"):
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("mmsearch") / "library"


class Library:
    """Photos, texts and sound captions under one roof, searchable by meaning.

    Made by `Library.open`; usable from many threads; a context manager. Another process may index into
    the same library meanwhile: queries see its work as it is committed.
    """

    def __init__(self, path: Path, catalog: Catalog, model: str, card: ModelCard, device: str) -> None:
        self.path = path
        self.card = card
        self._model = model
        self._catalog = catalog
        self._indexes = Indexes(catalog, path / VECTORS_NAME, card.dim, store_class(device))
        self._device = device
        self._heads = Heads(catalog, path / HEADS_NAME, card.fingerprint)
        self._encoders: dict[str, Encoder] = {}
        self._loading = threading.Lock()

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
        if not create and not (path / CATALOG_NAME).exists():
            raise LibraryNotFound(path=path)
        if create:
            path.mkdir(parents=True, exist_ok=True)
        catalog = Catalog.open(path / CATALOG_NAME, create=create)
        try:
            stored = catalog.meta("model")
            name = _known_by(registry.chosen(model, stored))
            card = registry.card(name)
            if device != "auto":
                device = registry.place(name, device)
            fingerprint = catalog.meta("fingerprint")
            if fingerprint not in (None, card.fingerprint) and not switch_model:
                raise ModelMismatch(stored=f"{stored} ({fingerprint[:8]})", wanted=_named(card))
        except BaseException:
            catalog.close()
            raise
        return cls(path, catalog, name, card, device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back files, sessions and device memory. Closing twice is allowed."""
        with self._loading:
            for encoder in self._encoders.values():
                encoder.close()
            self._encoders.clear()
        self._indexes.close()
        self._catalog.close()

    @property
    def encoder(self) -> Encoder:
        """The towers on the library's device, loaded when first needed."""
        return self._towers(self._device)

    @property
    def _query_encoder(self) -> Encoder:
        """The towers for one query: unless a device was named the CPU, which is ready before torch is imported."""
        return self._towers("cpu" if self._device == "auto" else self._device)

    def _towers(self, device: str) -> Encoder:
        with self._loading:
            place = registry.place(self._model, device)
            if place not in self._encoders:
                self._encoders[place] = registry.load(self._model, device=place)
            return self._encoders[place]

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
        on_progress: OnProgress | None = None,
        on_skip: OnSkip | None = None,
    ) -> IndexReport:
        """Bring the library up to date with folders and files; without paths, with all that it knows.

        captions:   caption files (CSV) in the shapes of `path,caption`, Clotho and AudioCaps; they are kept.
        exclude:    globs of names or relative paths to leave out.
        batch_size: files that are embedded and committed together.
        workers:    threads that decode, processes with a GPU; one per core by default.
        rebuild:    embed everything again, with the model that this library was opened with.

        Ctrl-C ends the run early; what was committed stays. Raises LibraryBusy while another process
        indexes, UsageError for a path that is not there, BadManifest, and ModelMismatch.
        """
        # The decoders are not imported by a query.
        from mmsearch.retrieval.embedding import Embedder
        from mmsearch.retrieval.feeding import feed_for
        from mmsearch.retrieval.indexing import IndexOptions, IndexRun

        place = registry.place(self._model, self._device)
        options = IndexOptions(tuple(exclude), include_hidden, batch_size, workers, on_gpu=place != "cpu")
        with index_lock(self.path):
            wanted = scopes.resolve(self._catalog, paths)
            self._bind(rebuild)
            missing = scopes.take_captions(self._catalog, captions, wanted)
            with feed_for(place, registry.find(self._model), self.encoder, max_megapixels, options.decoders) as feed:
                embedder = Embedder(self._catalog, self.encoder, max_megapixels, feed)
                report = IndexRun(self._catalog, embedder, options, on_progress, on_skip).run(wanted, missing)
            hubs.level(self._catalog, hubs.provide(self._model, self.path / VECTORS_NAME, self.encoder))
            self._catalog.prune_judgements()
            self._settle()
        return report

    def retry_failures(self, *, on_progress: OnProgress | None = None, on_skip: OnSkip | None = None) -> IndexReport:
        """Try again what could not be read before."""
        for root in self._catalog.roots():
            self._catalog.clear_failures(root.id)
        return self.index(on_progress=on_progress, on_skip=on_skip)

    def _bind(self, rebuild: bool) -> None:
        """Tie the library to the model it was opened with, and unlearn every vector for a rebuild."""
        stored = self._catalog.meta("fingerprint")
        if stored not in (None, self.card.fingerprint) and not rebuild:
            raise ModelMismatch(stored=stored[:8], wanted=_named(self.card))
        if rebuild:
            self._catalog.unembed()
        if stored != self.card.fingerprint:
            self._catalog.set_meta(model=self._model, fingerprint=self.card.fingerprint, dim=str(self.card.dim))

    def _settle(self) -> None:
        """Write the snapshots, and take off the disk what was removed."""
        self._indexes.save()
        self._catalog.compact()

    def forget(self, paths: Iterable[Path | str]) -> int:
        """Remove files, folders or whole roots from the library and from its disk; returns how many items went.

        They stay forgotten until `index` names them again. The files themselves are not touched.
        Raises NotIndexed for a path of which the library knows nothing.
        """
        with index_lock(self.path):
            removed = sum(scopes.forget(self._catalog, absolute(path)) for path in paths)
            self._catalog.prune_judgements()
            self._settle()
        return removed

    def move_root(self, old: Path | str, new: Path | str) -> Root:
        """Tell the library that a root has moved; nothing is read or embedded again. Raises RootNotFound."""
        with index_lock(self.path):
            return self._catalog.move_root(absolute(old), absolute(new))

    def query(self, query: str, k: int = 10, *, allow_url: bool = False, **options: Unpack[PageOptions]) -> Hits:
        """The k best answers to a text, a picture's path or URL, or a sum such as `dog + beach - people`.

        allow_url: fetch a picture whose URL is asked for.
        options:   kinds, path_glob, after, before, min_score, min_prob, rerank, explain, offset, as PageOptions says.

        The answer is a list; its `fits` says how probable it is that the library holds what was asked for.

        Raises BadQuery, and UsageError for a k or an offset that is no count and a min_prob that is no probability.
        """
        page = Page.of(k, options)
        return self._search(queries.embed_queries(self._query_encoder, [query], allow_url=allow_url), page)[0]

    def query_many(self, texts: Sequence[str], k: int = 10, **options: Unpack[PageOptions]) -> list[Hits]:
        """The k best answers to each of many queries; the same as asking one by one, but faster."""
        page = Page.of(k, options)
        return self._search(queries.embed_queries(self.encoder, texts), page)

    def similar(self, path: Path | str, k: int = 10, **options: Unpack[PageOptions]) -> Hits:
        """The k items most like a file; a photo need not be in the library. Raises NotIndexed and BadQuery."""
        page = Page.of(k, options)
        file = absolute(path)
        item = self._catalog.item_at(file)
        if item is not None:
            vector = queries.of_item(self._catalog.rows_of(item.id))
            if vector is None:
                raise UsageError(f"{file} has no caption, so nothing is known of what it is like.")
            return self._search([vector], replace(page, without=item.id))[0]
        if not file.exists():
            raise NotIndexed(path=file)
        return self._search([queries.embed_picture(self._query_encoder, file)], page)[0]

    def feedback(self, query: str, *, good: Iterable[Path | str] = (), bad: Iterable[Path | str] = ()) -> Feedback:
        """Note which files fit a query and which do not; the last word on a query and a file counts.

        Raises BadQuery for a query that is not words alone, NotIndexed, and UsageError where no file is named, or one
        as good and bad at once.
        """
        return judging.note(self._catalog, query, good, bad)

    def judgements(self) -> list[Judgement]:
        """What feedback noted, by query and path."""
        return self._catalog.judgements()

    def clear_feedback(self, query: str | None = None) -> int:
        """Take what feedback noted of a query, of all queries if None, off the disk; returns how many judgements went.

        Raises LibraryBusy while another process indexes.
        """
        with index_lock(self.path):
            return self._catalog.clear_judgements(None if query is None else " ".join(query.split()))

    @property
    def fusion(self) -> UserFusion:
        """The order of the answers, to be trained on this library's own queries, judged, and chosen."""
        from mmsearch.retrieval.feedback.fusion import UserFusion  # which a query does not need

        return UserFusion(self._catalog, self._indexes, self._heads, lambda: self._query_encoder)

    def _search(self, vectors: Sequence[QueryVector], page: Page) -> list[Hits]:
        return search(self._catalog, self._indexes, self.card, self._heads.current(), vectors, page)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D) float32 unit rows of N texts."""
        return self.encoder.texts(texts)

    def encode_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """(N, D) float32 unit rows of N photos: paths, bytes, PIL images or (H, W, 3) uint8. Raises Unreadable."""
        from mmsearch.retrieval.decode import photos

        if not images:
            return np.empty((0, self.card.dim), np.float32)
        preprocess = self.card.preprocess
        sources = [Path(image).expanduser() if isinstance(image, str) else image for image in images]
        return self.encoder.images(np.stack([photos.load(source, preprocess) for source in sources]))

    def roots(self) -> list[Root]:
        """The folders that this library covers."""
        return self._catalog.roots()

    def failures(self) -> list[Failure]:
        """The files that were passed over, and why."""
        return self._catalog.failures()

    def status(self) -> Status:
        """What the library holds."""
        counts = self._catalog.counts()
        return Status(
            path=self.path,
            model=self._model,
            fingerprint=self.card.fingerprint,
            dim=self.card.dim,
            roots=[root.path for root in self.roots()],
            items=counts.items,
            rows=counts.rows,
            failures=counts.failures,
            uncaptioned=self._catalog.uncaptioned(),
            size_bytes=sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
        )

    def verify(self) -> list[str]:
        """What is wrong with the library, a sentence each; empty when all is well."""
        return self._catalog.problems() + self._indexes.problems()

    def repair(self) -> list[str]:
        """Mend what verify finds: damaged rows go and their files are read at the next `index`. Says what it did."""
        with index_lock(self.path):
            mended = self._catalog.mend()
            if mended or self._indexes.problems():
                self._indexes.rebuild()
                mended.append("the vector indexes were rebuilt from the catalogue")
            self._settle()
        return mended


def _known_by(model: str) -> str:
    """The name of a model, or the absolute path of a model directory: it must mean the same from everywhere."""
    return model if registry.find(model).name == model else str(absolute(model))


def _named(card: ModelCard) -> str:
    return f"{card.name} ({card.fingerprint[:8]})"
