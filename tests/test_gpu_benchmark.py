"""The script that measures a GPU, tried without one, and the vectors that it is measured with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_the_script_runs_without_a_gpu() -> None:
    parts = ["ceilings", "search"]
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--quick", "--parts", *parts]
    done = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {name: json.loads(figures) for name, figures in (line.split(" ", 1) for line in done.stdout.splitlines())}
    assert list(found) == parts
    assert min(found["ceilings"].values()) > 0
    assert found["search"]["exact_5000"]["torch"]["queries_1"]["ms"] > 0
    assert found["search"]["coarse_5000"]["would_choose"] == "torch"


def test_the_vectors_have_the_angles_of_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from synthetic import Space  # type: ignore[import-not-found, unused-ignore]

    space = Space(0, chunk=10_000)
    pictures = torch.cat([part.float() for part in space.pictures(15_000)])
    texts, asked = space.text_queries(200, 15_000), space.picture_queries(200, 15_000)
    assert pictures.shape == (15_000, 512)
    torch.testing.assert_close(pictures.norm(dim=1), torch.ones(15_000), atol=1e-3, rtol=0)
    assert float((pictures[:500] @ pictures[10_000:10_500].T).mean()) == pytest.approx(0.53, abs=0.03)
    assert float((texts @ pictures.T).mean()) == pytest.approx(0.11, abs=0.03)
    assert float((texts @ pictures.T).max(dim=1).values.mean()) == pytest.approx(0.305, abs=0.02)
    assert float((asked @ pictures.T).max(dim=1).values.mean()) > 0.7
    again = next(iter(Space(0, chunk=10_000).pictures(10_000)))
    torch.testing.assert_close(again.float(), pictures[:10_000])
