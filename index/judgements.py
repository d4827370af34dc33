"""What the user said of answers: which fit their query, and which do not."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import delete, insert, select

from mmsearch.index import schema
from mmsearch.index.addresses import ITEM_TABLES, read_path
from mmsearch.index.contents import among
from mmsearch.index.database import Database, plain
from mmsearch.index.holdings import LOST_JUDGEMENTS
from mmsearch.index.items import Judgement


class Judgements(Database):
    """The part of the catalogue that holds judgements. Of several of one query and one item the last counts."""

    def judge(self, query: str, verdicts: Mapping[int, bool]) -> list[Path]:
        """Note whether items, by id, fit a query; returns the paths of those of which the opposite was noted before.

        Ids that are not stored are passed over.
        """
        items = schema.items.c
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._writing() as connection:
            earlier = [each for each in _read(plain(connection)) if each.query == query]
            found = connection.execute(
                select(items.id, items.root_id, items.path).where(among(items.id, verdicts))
            ).all()
            values = [
                {"root_id": root, "path": path, "query": query, "is_good": verdicts[item], "judged_at": now}
                for item, root, path in found
            ]
            if values:
                connection.execute(insert(schema.judgements).prefix_with("OR REPLACE"), values)
        return [each.path for each in earlier if verdicts.get(each.item_id, each.is_good) != each.is_good]

    def judgements(self) -> list[Judgement]:
        """What is noted of items, by query and path."""
        with self._reading() as connection:
            return _read(connection)

    def clear_judgements(self, query: str | None = None) -> int:
        """Take the judgements of a query, of all queries if None, off the disk; returns how many there were."""
        columns = schema.judgements.c
        with self._writing() as connection:
            statement = delete(schema.judgements)
            gone = connection.execute(statement if query is None else statement.where(columns.query == query))
        # secure_delete wipes what is deleted, but not the copies that rearranged pages leave behind.
        self._alone("VACUUM")
        self._alone("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone.rowcount

    def prune_judgements(self) -> None:
        """Remove the judgements of files of which nothing else is known any more."""
        with self._writing() as connection:
            connection.exec_driver_sql(f"DELETE FROM {LOST_JUDGEMENTS}")


def _read(connection: sqlite3.Connection) -> list[Judgement]:
    found = connection.execute(
        f"SELECT query, roots.path, items.path, items.id, is_good, judged_at FROM {ITEM_TABLES} "
        "JOIN judgements ON judgements.root_id = items.root_id AND judgements.path = items.path"
    ).fetchall()
    listed = [
        Judgement(query, Path(read_path(root), read_path(path)), item, bool(is_good), judged_at)
        for query, root, path, item, is_good, judged_at in found
    ]
    return sorted(listed, key=lambda each: (each.query, each.path))
