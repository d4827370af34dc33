"""What the catalogue notes beside items: failures, files forgotten on purpose, captions of manifests."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from sqlalchemy import bindparam, delete, insert

from mmsearch.index import schema
from mmsearch.index.addresses import read_path
from mmsearch.index.database import Database
from mmsearch.index.items import Failure, ManifestCaption


class Ledger(Database):
    """The part of the catalogue that holds notes. Paths are relative to a root, with forward slashes."""

    def failures(self) -> list[Failure]:
        """Every file that was passed over, by path."""
        tables = "failures JOIN roots ON roots.id = failures.root_id"
        query = f"SELECT roots.path, failures.path, reason, failed_at FROM {tables}"
        found = self._ask(query)
        listed = [Failure(Path(read_path(root), read_path(path)), *rest) for root, path, *rest in found]
        return sorted(listed, key=lambda failure: failure.path)

    def clear_failures(self, root_id: int, paths: Collection[str] | None = None) -> None:
        """Strike the failures of paths below a root, of all paths if None."""
        statement = delete(schema.failures).where(schema.failures.c.root_id == root_id)
        with self._writing() as connection:
            if paths is None:
                connection.execute(statement)
            elif paths:
                connection.execute(
                    statement.where(schema.failures.c.path == bindparam("at_path")),
                    [{"at_path": path} for path in paths],
                )

    def exclude(self, root_id: int, path: str) -> None:
        """Note that a path, and all below it, was forgotten on purpose. Twice is as good as once."""
        with self._writing() as connection:
            connection.execute(insert(schema.excludes).prefix_with("OR IGNORE"), {"root_id": root_id, "path": path})

    def include(self, root_id: int, path: str) -> None:
        """Lift the note that a path was forgotten on purpose, if there is one."""
        excludes = schema.excludes.c
        with self._writing() as connection:
            connection.execute(delete(schema.excludes).where(excludes.root_id == root_id, excludes.path == path))

    def set_captions(self, root_id: int, source: str, captions: Iterable[tuple[str, ManifestCaption]]) -> None:
        """Keep the captions that the manifest `source` gives to paths, in place of what it gave before."""
        values = [
            {
                "root_id": root_id,
                "path": path,
                "source": source,
                "view": caption.view,
                "text": caption.text,
                "start_s": caption.start_s,
                "end_s": caption.end_s,
            }
            for path, caption in captions
        ]
        columns = schema.captions.c
        with self._writing() as connection:
            connection.execute(delete(schema.captions).where(columns.root_id == root_id, columns.source == source))
            if values:
                connection.execute(insert(schema.captions), values)
