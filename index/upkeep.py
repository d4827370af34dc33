"""Counting, checking, mending and compacting the catalogue."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, delete, func, insert, select, table, text

from mmsearch.index import checks, schema, words, words_schema
from mmsearch.index.addresses import ITEM_TABLES, read_path
from mmsearch.index.contents import Contents
from mmsearch.index.database import plain
from mmsearch.index.errors import LibraryDamaged
from mmsearch.index.holdings import Holdings
from mmsearch.index.items import Counts
from mmsearch.index.rows import GRAVES_FLOOR_KEY
from mmsearch.index.words_schema import REMAIN_KEY

_UNCAPTIONED = (
    f"SELECT roots.path, items.path FROM {ITEM_TABLES} "
    "WHERE items.kind = 'audio' AND NOT EXISTS (SELECT 1 FROM rows WHERE rows.item_id = items.id)"
)


class Upkeep(Contents, Holdings):
    """The part of the catalogue that looks after it."""

    def counts(self) -> Counts:
        """How much is stored."""
        with self._reading() as connection:
            kinds = connection.execute("SELECT kind, count(*) FROM items GROUP BY kind").fetchall()
            views = connection.execute("SELECT view, count(*) FROM rows GROUP BY view").fetchall()
            ((failures,),) = connection.execute("SELECT count(*) FROM failures").fetchall()
            silent = connection.execute(_UNCAPTIONED).fetchall()
        return Counts(items=dict(kinds), rows=dict(views), failures=failures, uncaptioned=len(silent))

    def uncaptioned(self) -> list[Path]:
        """The clips that have no caption, and so no row by which a query could find them."""
        found = self._ask(_UNCAPTIONED)
        return sorted(Path(read_path(root), read_path(path)) for root, path in found)

    def problems(self) -> list[str]:
        """What is wrong with the catalogue, a sentence each; empty when all is well."""
        try:
            with self._reading() as connection:
                return [
                    *(f"the catalogue is damaged: {fault}" for fault in checks.faults(connection)),
                    *words.faults(connection),
                    *(f"{child} {id_} has lost its {parent}" for child, id_, parent in checks.orphans(connection)),
                    *(f"{path}: {reason}" for _, path, reason in checks.damaged_items(connection)),
                ]
        except LibraryDamaged as error:
            return [str(error)]

    def mend(self) -> list[str]:
        """Mend what `problems` finds and say how. Damaged items go, to be read again by the next run."""
        done = []
        with self._writing() as connection:
            if checks.faults(plain(connection)):
                connection.exec_driver_sql("REINDEX")
                done.append("the lookup tables of the catalogue were rebuilt")
            for child, id_, parent in checks.orphans(plain(connection)):
                connection.execute(delete(table(child)).where(text("rowid = :id")), {"id": id_})
                done.append(f"{child} {id_}, which had lost its {parent}, was removed")
            if words.faults(plain(connection)):
                _refill_words(connection)
                done.append("the index of words was made anew")
            for item_id, path, reason in checks.damaged_items(plain(connection)):
                connection.execute(delete(schema.items).where(schema.items.c.id == item_id))
                done.append(f"{path} was removed, to be read again by the next `mmsearch index`: {reason}")
        return done

    def compact(self) -> None:
        """Take what was removed off the disk. Call it when the indexes are saved: they rely on the graves.

        Where another process reads for long, the graves stay, and so does what the next call has to do.
        """
        if self.has_removed():
            with self._writing() as connection:
                _merge_words(connection)
                connection.execute(delete(schema.meta).where(schema.meta.c.key == REMAIN_KEY))
            # secure_delete wipes what is deleted, but not the copies that rearranged pages leave behind.
            self._alone("VACUUM")
        # (whether something stood in the way, pages in the log, pages moved)
        is_blocked, *_ = self._alone("PRAGMA wal_checkpoint(TRUNCATE)")
        if is_blocked:
            return
        with self._writing() as connection:
            last = connection.scalar(select(func.max(schema.graves.c.seq)))
            if last is not None:
                connection.execute(
                    insert(schema.meta).prefix_with("OR REPLACE"),
                    {"key": GRAVES_FLOOR_KEY, "value": str(last)},
                )
                connection.execute(delete(schema.graves).where(schema.graves.c.seq <= last))


def _refill_words(connection: Connection) -> None:
    """Make the tables of words anew from what the catalogue holds."""
    for statement in words_schema.FILLED:
        connection.exec_driver_sql(statement)


def _merge_words(connection: Connection) -> None:
    """Rewrite the tables of words without what was removed: FTS5 only marks it as such, and keeps the words."""
    for indexed in words.INDEXED:
        connection.exec_driver_sql(f"INSERT INTO {indexed} ({indexed}) VALUES ('optimize')")
