"""The hubness of rows, as the catalogue holds it: measured after they are stored, and kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, update

from mmsearch.index import schema
from mmsearch.index.database import Database
from mmsearch.index.rows import HUBNESS_VERSION_KEY, unpack


class Hubness(Database):
    """The part of the catalogue that knows how near each row is to captions of all kinds."""

    def unmeasured(self, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Ids (N,), ascending, and vectors (N, D) of the first `limit` rows whose hubness is not known.

        D is 0 where N is.
        """
        query = "SELECT id, vector FROM rows WHERE hubness IS NULL ORDER BY id LIMIT ?"
        found = self._ask(query, (limit,))
        ids = np.array([id_ for id_, _ in found], np.int64)
        return ids, unpack(b"".join(blob for _, blob in found)).reshape(len(ids), -1 if found else 0)

    def note_hubness(self, ids: NDArray[np.int64], hubness: NDArray[np.float32]) -> None:
        """Note the hubness (N,) of rows (N,); ids that are not stored are passed over."""
        columns = schema.rows.c
        noting = update(schema.rows).where(columns.id == bindparam("row")).values(hubness=bindparam("value"))
        values = [{"row": id_, "value": value} for id_, value in zip(ids.tolist(), hubness.tolist(), strict=True)]
        if values:
            with self._writing() as connection:
                connection.execute(noting, values)
                _count(connection)

    def clear_hubness(self) -> None:
        """Take the hubness of every row as not known."""
        with self._writing() as connection:
            connection.execute(update(schema.rows).values(hubness=None).where(schema.rows.c.hubness.is_not(None)))
            _count(connection)


def _count(connection: Connection) -> None:
    """Let those who hold hubness in memory know that it is another."""
    connection.exec_driver_sql(
        "INSERT INTO meta (key, value) VALUES (?, '1') ON CONFLICT (key) DO UPDATE SET value = value + 1",
        (HUBNESS_VERSION_KEY,),
    )
