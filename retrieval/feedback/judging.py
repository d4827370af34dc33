"""What a user says of answers: `mmsearch feedback`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmsearch.index.errors import BadQuery, NotIndexed, UsageError
from mmsearch.index.reader import Reader
from mmsearch.retrieval.query_language import parse
from mmsearch.retrieval.scopes import absolute


@dataclass(frozen=True, slots=True)
class Feedback:
    """What was noted of the answers to a query.

    good, bad: how many judgements of each.
    turned:    the files of which the opposite had been noted before.
    """

    query: str
    good: int
    bad: int
    turned: tuple[Path, ...] = ()


def note(catalog: Reader, query: str, good: Iterable[Path | str], bad: Iterable[Path | str]) -> Feedback:
    """Note which files fit a query and which do not, in place of what was noted of them before; all or nothing.

    Raises BadQuery for a query that is not words alone, NotIndexed, and UsageError where no file is named, or one
    as good and bad at once.
    """
    words = judged_words(query)
    verdicts = dict.fromkeys(_items(catalog, good), True)
    for item, path in _items(catalog, bad).items():
        if item in verdicts:
            raise UsageError(f"{path} is called good and bad at once; nothing was noted.")
        verdicts[item] = False
    if not verdicts:
        raise UsageError("name the files that fit the query with --good, and those that do not with --bad.")
    turned = catalog.writer.judge(words, verdicts)
    return Feedback(words, sum(verdicts.values()), len(verdicts) - sum(verdicts.values()), tuple(turned))


def judged_words(query: str) -> str:
    """The query with single blanks. BadQuery where it is a picture, or subtracts: only words are learned from."""
    terms = parse(query)
    if any(term.kind != "text" for term in terms):
        raise BadQuery(f'"{query}" is a picture; only answers to words can be judged.')
    if any(term.weight < 0 for term in terms):
        raise BadQuery(f'"{query}" subtracts; judge the answers to "{terms[0].content}" alone.')
    return " ".join(query.split())


def _items(catalog: Reader, paths: Iterable[Path | str]) -> dict[int, Path]:
    """The file of each item that paths name."""
    found = {}
    for path in map(absolute, paths):
        item = catalog.item_at(path)
        if item is None:
            raise NotIndexed(path=path)
        found[item.id] = path
    return found
