"""How far a catalogue has come, for those who derive something from it."""

from __future__ import annotations

from typing import NamedTuple

from mmsearch.index.sqlite_file import SqliteFile

HUBNESS_VERSION_KEY = "hubness_version"  # of a number that grows whenever hubness is noted or cleared

# Each of these takes a number that is never given twice: a row or an item that comes, a row that goes, a root that
# takes in another.
_VERSIONS = (
    "SELECT total(seq) FILTER (WHERE name IN ('rows', 'graves')), total(seq), "
    f"(SELECT value FROM meta WHERE key = '{HUBNESS_VERSION_KEY}') FROM sqlite_sequence"
)


class Versions(NamedTuple):
    """Numbers that differ whenever what they are of has changed.

    rows:    grows whenever rows come or go.
    words:   grows whenever texts or names come, go or change.
    hubness: grows whenever hubness is noted or cleared; 0 before it is.
    """

    rows: int
    words: int
    hubness: int


class Versioned(SqliteFile):
    """The part of the catalogue that tells whether it has changed."""

    def versions(self) -> Versions:
        """Those of the present state."""
        ((rows, words, hubness),) = self._ask_once(_VERSIONS)
        return Versions(int(rows), int(words), int(hubness or 0))
