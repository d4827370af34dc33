"""What a run of indexing asks of the catalogue before it writes, and without what writing needs.

Most runs find that nothing has changed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.addresses import read_path
from mmsearch.index.items import Known, ManifestCaption
from mmsearch.index.rows import unpack
from mmsearch.index.sqlite_file import SqliteFile, has_log
from mmsearch.index.words_schema import REMAIN_KEY

# Judgements of files of which nothing else is known.
LOST_JUDGEMENTS = "judgements WHERE " + " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {table} WHERE {table}.root_id = judgements.root_id AND {table}.path = judgements.path)"
    for table in ("items", "failures")
)


class Holdings(SqliteFile):
    """The part of the catalogue that tells what it knows of files, and what is left to do."""

    def known(self, root_id: int) -> dict[str, Known]:
        """What the catalogue remembers of every path below a root, items and failures alike."""
        items = "SELECT path, id, size_bytes, mtime_ns, companions, digest FROM items WHERE root_id = ?"
        failures = "SELECT path, NULL, size_bytes, mtime_ns, companions, NULL FROM failures WHERE root_id = ?"
        with self._reading() as connection:
            known = {read_path(row[0]): Known(*row[1:]) for row in connection.execute(failures, (root_id,))}
            known.update((read_path(row[0]), Known(*row[1:])) for row in connection.execute(items, (root_id,)))
        return known

    def excludes(self, root_id: int) -> set[str]:
        """The paths below a root that were forgotten on purpose."""
        found = self._ask("SELECT path FROM excludes WHERE root_id = ?", (root_id,))
        return {read_path(path) for (path,) in found}

    def captions(self, root_id: int) -> dict[str, tuple[ManifestCaption, ...]]:
        """The captions that manifests give to paths below a root, by manifest and in its order."""
        query = "SELECT path, view, text, start_s, end_s FROM captions WHERE root_id = ? ORDER BY source, id"
        found = self._ask(query, (root_id,))
        captions: dict[str, tuple[ManifestCaption, ...]] = {}
        for stored, *rest in found:
            path = read_path(stored)
            captions[path] = (*captions.get(path, ()), ManifestCaption(*rest))
        return captions

    def unmeasured(self, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Ids (N,), ascending, and vectors (N, D) of the first `limit` rows whose hubness is not known.

        D is 0 where N is.
        """
        query = "SELECT id, vector FROM rows WHERE hubness IS NULL ORDER BY id LIMIT ?"
        found = self._ask(query, (limit,))
        ids = np.array([id_ for id_, _ in found], np.int64)
        return ids, unpack(b"".join(blob for _, blob in found)).reshape(len(ids), -1 if found else 0)

    def has_lost_judgements(self) -> bool:
        """Whether there is anything for `prune_judgements` to remove."""
        return self._holds(f"SELECT 1 FROM {LOST_JUDGEMENTS}")

    def has_removed(self) -> bool:
        """Whether anything was removed of which copies may be left."""
        # Every removed row left a grave, and graves go last; a removed item without rows left a note.
        return self._holds("SELECT 1 FROM graves") or self._holds("SELECT 1 FROM meta WHERE key = ?", REMAIN_KEY)

    def is_compact(self) -> bool:
        """Whether there is nothing for `compact` to do: nothing was removed, and no log holds what was."""
        return not (has_log(self.path) or self.has_removed())

    def _holds(self, query: str, *values: str) -> bool:
        return bool(self._ask(f"SELECT EXISTS ({query})", values)[0][0])
