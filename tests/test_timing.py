"""How benchmarks time things in turns, and what they claim of it."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
from tests.benchmark_scripts import script


@pytest.fixture
def timing(monkeypatch: pytest.MonkeyPatch) -> Any:
    return script("timing", monkeypatch)


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script, which writes to folders of the test."""
    return script("record", monkeypatch, RESULTS=tmp_path / "results", QUICK=tmp_path / "quick")


def test_things_take_turns_after_a_warm_up(timing: Any) -> None:
    seen: list[str] = []
    things = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    times = timing.interleaved(things, 2, before={"b": lambda: seen.append("clean")})
    assert seen == ["a", "clean", "b"] * 3
    assert {name: len(each) for name, each in times.wall_s.items()} == {"a": 2, "b": 2}


def test_what_comes_before_is_not_timed(timing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def timed(thing: Any) -> tuple[float, float]:
        seen.append("clock")
        thing()
        return 1.0, 1.0

    monkeypatch.setattr(timing, "timed", timed)
    things = {"a": lambda: seen.append("a")}
    timing.interleaved(things, 1, before={"a": lambda: seen.append("clean")}, warm_up=0)
    assert seen == ["clean", "clock", "a"]


def test_the_ratio_is_the_median_of_those_of_neighbours(timing: Any) -> None:
    times = timing.Times({"a": [1.0, 2.0, 9.0], "b": [2.0, 8.0, 3.0]}, {"a": [4.0, 1.0, 3.0], "b": [1.0, 1.0, 1.0]})
    assert times.ratio("a", "b") == 0.5
    assert times.cpu_ratio("a", "b") == 3.0
    assert times.figures() == {"wall_ms": {"a": 2000.0, "b": 3000.0}, "cpu_ms": {"a": 3000.0, "b": 1000.0}}


def test_a_waiting_process_takes_wall_but_no_processor_time(timing: Any) -> None:
    wall, cpu = timing.timed(partial(timing.quietly, ["sleep", "0.3"]))
    assert wall >= 0.3
    assert cpu < 0.2


def test_the_processor_time_of_a_command_counts(timing: Any) -> None:
    code = "import time\nwhile time.process_time() < .3: pass"
    assert timing.timed(partial(timing.quietly, [sys.executable, "-c", code]))[1] >= 0.3


def test_a_command_gives_its_output_and_sees_the_changes(timing: Any) -> None:
    code = "import os, sys; print(os.environ['MOOD']); print('noise', file=sys.stderr)"
    assert timing.quietly([sys.executable, "-c", code], MOOD="fine") == "fine\n"


def test_a_command_that_fails_is_no_measurement(timing: Any) -> None:
    with pytest.raises(CalledProcessError):
        timing.quietly([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.parametrize(
    ("bound", "ratio", "met", "asked"),
    [
        ({"at_most": 0.5}, 0.5, True, "at most 0.5"),
        ({"at_most": 0.5}, 0.501, False, "at most 0.5"),
        ({"at_least": 3.3}, 3.3, True, "at least 3.3"),
        ({"at_least": 3.3}, 3.29, False, "at least 3.3"),
    ],
)
def test_a_claim_says_whether_it_is_met(
    record: Any, bound: dict[str, float], ratio: float, met: bool, asked: str
) -> None:
    claim = record.claim(1, "indexing", ours="5 s", against="rclip 20 s", ratio=ratio, **bound)
    assert (claim["ratio"], claim["asked"], claim["met"]) == (ratio, asked, met)
    assert (claim["row"], claim["what"], claim["ours"], claim["against"]) == (1, "indexing", "5 s", "rclip 20 s")


def test_a_claim_is_judged_before_it_is_rounded(record: Any) -> None:
    claim = record.claim(3, "decoding", ours="", against="", ratio=0.22049, at_most=0.22)
    assert (claim["ratio"], claim["met"]) == (0.22, False)


def test_the_quick_form_leaves_the_published_result_alone(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["search.py"])
    full = record.record("search", {"ms": 1})
    quick = record.record("search", {"ms": 2}, quick=True)
    assert json.loads(full.read_text())["figures"] == {"ms": 1}
    assert json.loads(quick.read_text())["figures"] == {"ms": 2}
