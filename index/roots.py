"""The folders that a library covers. No root lies inside another."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update

from mmsearch.index import schema
from mmsearch.index.addresses import read_roots
from mmsearch.index.database import Database, plain
from mmsearch.index.errors import RootNotFound, UsageError
from mmsearch.index.items import Root


class Roots(Database):
    """The part of the catalogue that changes roots. Paths come absolute and without `..`."""

    def add_root(self, path: Path) -> Root:
        """The root that is path or contains it, else a new one, of which roots inside path become part."""
        with self._writing() as connection:
            known = read_roots(plain(connection))
            for root in known:
                if path.is_relative_to(root.path):
                    return root
            made = insert(schema.roots).returning(schema.roots.c.id)
            new = Root(connection.scalars(made, {"path": str(path)}).one(), path)
            for root in known:
                if root.path.is_relative_to(path):
                    _absorb(connection, root, new)
            return new

    def move_root(self, old: Path, new: Path) -> Root:
        """Note that the folder old is now at new.

        Raises RootNotFound, and UsageError where new meets another root.
        """
        with self._writing() as connection:
            known = read_roots(plain(connection))
            moved = next((root for root in known if root.path == old), None)
            if moved is None:
                raise RootNotFound(path=old, known=[root.path for root in known])
            for root in known:
                if root != moved and (root.path.is_relative_to(new) or new.is_relative_to(root.path)):
                    raise UsageError(
                        f"{old} cannot become {new}, which overlaps the root {root.path}; "
                        f"forget one of them with `mmsearch forget`."
                    )
            connection.execute(update(schema.roots).where(schema.roots.c.id == moved.id).values(path=str(new)))
            return Root(moved.id, new)

    def drop_root(self, root_id: int) -> None:
        """Remove a root with everything that is known of its files."""
        with self._writing() as connection:
            connection.execute(delete(schema.roots).where(schema.roots.c.id == root_id))


def _absorb(connection: Connection, inner: Root, outer: Root) -> None:
    prefix = inner.path.relative_to(outer.path).as_posix()
    for table in schema.ADDRESSED:
        _readdress(connection, table, inner.id, outer.id, prefix)
    connection.execute(delete(schema.roots).where(schema.roots.c.id == inner.id))


def _readdress(connection: Connection, table: Table, old_root: int, new_root: int, prefix: str) -> None:
    # In Python, since a path that is not UTF-8 is stored as bytes, which SQL would join into broken text.
    paths = connection.scalars(select(table.c.path).where(table.c.root_id == old_root).distinct()).all()
    if paths:
        connection.execute(
            update(table)
            .where(table.c.root_id == old_root, table.c.path == bindparam("old_path"))
            .values(root_id=new_root, path=bindparam("new_path")),
            [{"old_path": path, "new_path": f"{prefix}/{path}" if path else prefix} for path in paths],
        )
