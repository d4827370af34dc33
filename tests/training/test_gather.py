"""Which photos take part in a training run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from mmsearch.retrieval.training.gather import Gathered, gather
from mmsearch.retrieval.training.pool import Shelf
from mmsearch.retrieval.training.sources import Source


def shelf(name: str, count: int, first: int, captions: list[str]) -> Shelf:
    """Photos whose difference hashes are far from each other's."""
    prints = np.random.default_rng(first).integers(0, 2**63, count, dtype=np.uint64)
    rows: list[dict[str, object]] = [
        {"key": f"{i}.jpg", "split": "train", "label": "", "captions": captions, "print": f"{int(print_):016x}"}
        for i, print_ in enumerate(prints)
    ]
    return Shelf(Source(name, "folders", "."), Path("absent"), rows, np.zeros((count, 2, 2, 3), np.uint8))


def gathered(uncaptioned: int) -> Gathered:
    return gather(
        [shelf("captioned", 5, 1, ["a dog"]), shelf("plain", 40, 2, []), shelf("other", 40, 3, [])], 6, uncaptioned
    )


def members(uncaptioned: int) -> set[tuple[int, int]]:
    pool = gathered(uncaptioned).pool
    return set(zip(pool.shelf.tolist(), pool.row.tolist(), strict=True))


def test_so_many_photos_without_captions_take_part_and_all_with() -> None:
    shelves = gathered(12).pool.shelf
    assert (shelves == 0).sum() == 5
    assert (shelves > 0).sum() == 12


def test_a_smaller_choice_lies_within_a_larger_one() -> None:
    assert members(12) < members(30) < members(80)


def test_photos_are_chosen_from_every_source() -> None:
    assert set(gathered(20).pool.shelf.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("uncaptioned", [0, 80, 1000])
def test_all_photos_take_part_without_a_limit_or_under_it(uncaptioned: int) -> None:
    assert len(gathered(uncaptioned).pool) == 85
