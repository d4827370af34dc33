"""How results of benchmarks are kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.benchmark_scripts import script


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script, which writes to a folder of the test."""
    return script("record", monkeypatch, RESULTS=tmp_path)


def test_a_result_says_which_command_took_it(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks/towers.py", "--data", "/home/me/photos", "--seed", "3"])
    kept = json.loads(record.record("towers", {"recall": 1.0}, seed=3, repeats=2).read_text())
    assert kept["command"] == "python benchmarks/towers.py --data .../photos --seed 3"
    assert (kept["seed"], kept["repeats"], kept["figures"]) == (3, 2, {"recall": 1.0})


def test_figures_taken_again_keep_the_others_and_name_their_own_command(
    record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["towers.py"])
    record.record("towers", {"recall": 1.0, "speed": 60})
    monkeypatch.setattr(sys, "argv", ["towers.py", "--speed"])
    kept = json.loads(record.amend("towers", {"speed": 200}).read_text())
    assert kept["figures"] == {"recall": 1.0, "speed": 200}
    assert kept["command"] == "python towers.py"
    assert list(kept["amended"]) == ["speed"]
    assert kept["amended"]["speed"]["command"] == "python towers.py --speed"
