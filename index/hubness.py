"""The hubness of rows, as the catalogue holds it: measured after they are stored, and kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, update

from mmsearch.index import schema
from mmsearch.index.database import Database
from mmsearch.index.versions import HUBNESS_VERSION_KEY


class Hubness(Database):
    """The part of the catalogue that knows how near each row is to captions of all kinds."""

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
