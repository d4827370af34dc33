"""A library survives being killed, failing disks and full disks: the campaign of benchmarks/faults.py in short."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from tests.models import make_tiny_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None,
    reason="the faults are made by a preloaded library, which needs Linux and a C compiler",
)
def test_no_fault_tears_or_loses_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from faults import MODES, campaign  # type: ignore[import-not-found]

    model = str(make_tiny_model(tmp_path / "tiny"))
    work = tmp_path / "work"
    work.mkdir()
    findings = campaign(work, kills=3, stride=60, model=model)
    assert findings.wrong == []
    assert set(findings.trials) == {"random kill", *MODES}
    assert findings.exit_codes["kill: -9"] == findings.trials["kill"] > 1
    assert findings.exit_codes["fail: 1"] == findings.trials["fail"]
    assert findings.exit_codes["full: 1"] == findings.trials["full"]
