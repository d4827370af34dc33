"""The page of speeds says what the results claim, and where a peer is ahead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.benchmark_scripts import script


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Any:
    return script("speed_page", monkeypatch)


def said(row: int, ratio: float, asked: str, met: bool) -> dict[str, Any]:
    return {
        "row": row, "what": f"thing {row}", "ours": "1 s", "against": "rclip 2 s",
        "ratio": ratio, "asked": asked, "met": met,
    }  # fmt: skip


def document(name: str, *claims: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "command": f"python benchmarks/{name}.py",
        "commit": "abc1234",
        "taken_at": "2026-11-21T18:00:00+00:00",
        "machine": {"processor": "CPU", "cores": 2, "python": "3.11.7"},
        "repeats": 5,
        "figures": {"claims": list(claims)},
    }


def test_only_results_that_claim_something_are_on_the_page(pages: Any, tmp_path: Path) -> None:
    for each in (document("b", said(2, 3.0, "at least 2", True)), document("a")):
        (tmp_path / f"{each['name']}.json").write_text(json.dumps(each))
    (tmp_path / "c.json").write_text(json.dumps({"figures": {"recall": 1}}))
    assert [each["name"] for each in pages.load(tmp_path)] == ["a", "b"]


def test_the_table_is_in_the_order_of_its_rows(pages: Any) -> None:
    documents = [document("a", said(7, 0.2, "at most 0.25", True)), document("b", said(1, 2.5, "at least 3.3", False))]
    assert pages.rows(pages.claims(documents)) == [
        "| 1 | thing 1 | 1 s | rclip 2 s | 2.5 | at least 3.3 | no |",
        "| 7 | thing 7 | 1 s | rclip 2 s | 0.2 | at most 0.25 | yes |",
    ]


@pytest.mark.parametrize(
    ("ratio", "asked", "behind"),
    [
        (0.9, "at least 3", True),
        (1.1, "at least 3", False),
        (1.2, "at most 0.5", True),
        (0.9, "at most 0.5", False),
        (0.8, "at least 0.95", False),  # a recall, not a speed
        (3.0, "at most 2", False),  # milliseconds
    ],
)
def test_a_peer_is_ahead_where_it_is_quicker(pages: Any, ratio: float, asked: str, behind: bool) -> None:
    claim = said(1, ratio, asked, met=False)
    assert pages.is_behind(claim) == behind
    text = pages.page([document("a", claim)], {})
    assert ("**no, and behind**" in text) == behind
    assert ("- thing 1: 1 s against rclip 2 s" in text) == behind


def test_what_is_reached_is_1_where_it_is_just_met(pages: Any) -> None:
    assert pages.reached(said(1, 6.6, "at least 3.3", True)) == pytest.approx(2)
    assert pages.reached(said(1, 0.5, "at most 0.5", True)) == pytest.approx(1)
    assert pages.reached(said(1, 1.0, "at most 0.5", False)) == pytest.approx(0.5)
    assert pages.reached(said(1, -3.0, "at most 0.3", True)) == pages.reached(said(1, 0.0, "at most 0.3", True)) == 100


def test_the_page_says_how_each_result_was_taken(pages: Any) -> None:
    text = pages.page([document("cold")], {"speed.png": "bars"})
    line = "| cold | `python benchmarks/cold.py` | abc1234 | CPU, 2 cores, Python 3.11.7, 2026-11-21 | 5 |\n"
    assert text.endswith(line)
    assert "![bars](speed.png)" in text


def test_the_page_says_which_rows_nobody_measured(pages: Any) -> None:
    every = [said(row, 3.0, "at least 2", True) for row in range(1, 15)]
    assert "no result" not in pages.page([document("a", *every)], {})
    text = pages.page([document("a", *every[:4], *every[5:-1])], {})
    assert "\nThere is no result of rows 5, 14 yet.\n" in text
