"""Queries whose right answers the user knows: from his judgements, or from captions of his photos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import BadManifest, UsageError
from mmsearch.retrieval.evaluation.judged import JudgedQuery
from mmsearch.retrieval.query_language import parse

MIN_QUERIES = 20
MAX_QUERIES = 2000  # of captions; more would hardly tell more, and take minutes
_REGIME = "user"


def from_feedback(catalog: Catalog) -> tuple[list[JudgedQuery], list[str]]:
    """The queries with at least one good and one bad answer, and what was left out.

    UsageError says what is missing where there are fewer than MIN_QUERIES.
    """
    judged: dict[str, dict[int, bool]] = defaultdict(dict)
    for each in catalog.judgements():
        judged[each.query][each.item_id] = each.is_good
    if not judged:
        raise UsageError("nothing was judged yet; say what fits a query with `mmsearch feedback QUERY --good PATH`.")
    usable = {query: answers for query, answers in judged.items() if len(set(answers.values())) == 2}
    _check_enough(judged, len(usable))
    queries = [
        JudgedQuery(_words(query), _good(answers), query, _REGIME, frozenset(answers))
        for query, answers in usable.items()
    ]
    lacking = len(judged) - len(usable)
    return queries, [f"{lacking} queries have no good or no bad answer"] if lacking else []


def _check_enough(judged: dict[str, dict[int, bool]], usable: int) -> None:
    said = {is_good for answers in judged.values() for is_good in answers.values()}
    if len(said) == 1:
        known, option = ("good", "--bad") if True in said else ("bad", "--good")
        raise UsageError(f"all that was judged is {known}; learning needs both, so judge some answers with {option}.")
    if usable < MIN_QUERIES:
        raise UsageError(
            f"learning needs {MIN_QUERIES} queries with a good and a bad answer each, and there are {usable}; judge "
            "more with `mmsearch feedback`."
        )


def _good(answers: dict[int, bool]) -> frozenset[int]:
    return frozenset(item for item, is_good in answers.items() if is_good)


def _words(query: str) -> str:
    """The words of a query without its signs and weights."""
    return " ".join(term.content for term in parse(query, is_file=lambda name: False))


def from_captions(catalog: Catalog, caption_file: Path, seed: int = 0) -> tuple[list[JudgedQuery], list[str]]:
    """A query for each caption that a caption file gives a photo or clip of the library, and what was left out.

    A caption that the library holds for the same item would find it by itself, and is left out; of more than
    MAX_QUERIES, some are drawn. Raises BadManifest where the file cannot be read or too few are left.
    """
    from mmsearch.retrieval.decode import manifests

    roots = [root.path for root in catalog.roots()]
    found, absent = manifests.resolve(manifests.read(caption_file), caption_file.parent, roots)
    items = {item.path: item.id for root in roots for item in catalog.items_under(root)}
    elsewhere = len(absent) + sum(path not in items for path in found)
    queries, stored = [], 0
    for path in sorted(found.keys() & items.keys()):
        held = {row.text for row, _ in catalog.rows_of(items[path])}
        captions = dict.fromkeys(passage.text for passage in found[path])
        stored += sum(text in held for text in captions)
        queries += [
            JudgedQuery(text, frozenset([items[path]]), str(path), _REGIME) for text in captions if text not in held
        ]
    left_out = list(_told(elsewhere, stored))
    if len({query.group for query in queries}) < MIN_QUERIES:
        reason = "; ".join([f"learning needs captions of {MIN_QUERIES} items of the library", *left_out])
        raise BadManifest(path=caption_file, reason=f"{reason}.")
    drawn = np.random.default_rng(seed).permutation(len(queries))[:MAX_QUERIES]
    return [queries[at] for at in sorted(drawn.tolist())], left_out


def _told(elsewhere: int, stored: int) -> Iterator[str]:
    if elsewhere:
        yield f"{elsewhere} of its files are not in this library"
    if stored:
        yield f"{stored} captions are what the library itself holds of their items"
