"""The script that measures a GPU, tried without one, and the vectors that it is measured with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.benchmark_scripts import script

torch = pytest.importorskip("torch")

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_the_script_runs_without_a_gpu() -> None:
    parts = ["ceilings", "search", "lists"]
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--quick", "--parts", *parts]
    done = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [line.split(" ", 1) for line in done.stdout.splitlines() if " {" in line]
    found = {name: json.loads(figures) for name, figures in told}
    assert list(found) == parts
    assert all(value > 0 for name, value in found["ceilings"].items() if name != "part_took_s")
    assert found["search"]["exact"]["5000"]["torch"]["queries_1"]["ms"] > 0
    assert (found["lists"]["would_choose"], found["lists"]["missing"]) == ("torch", "not tried without a GPU")


def test_the_script_says_at_once_that_there_is_no_such_gpu() -> None:
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cuda:99"]
    done = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the device cuda:99 cannot be used" in done.stderr.splitlines()[-1]


FIGURES = {
    "ceilings": {"bf16_tflops": 800.0, "memory_gb_s": 3000.0},
    "towers": {
        "ViT-B-32": {"best": {"how": "40000 images/s (512 at once, graph)", "share": 0.44}},
        "ViT-L-14": {"failed": "RuntimeError: no"},
        "part_took_s": 9.0,
    },
    "end_to_end": {"indexed_s": 500.0, "read_alone_s": 600.0, "share_of_reading": 0.833},
    "search": {
        "exact": {
            "1000000": {"best": {"how": "1800 GB/s", "share": 0.6}},
            "10000000": {"best": {"how": "2400 GB/s", "share": 0.8}},
        }
    },
}


def test_what_was_measured_is_claimed_by_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = script("gpu", monkeypatch).claims
    assert [(each["row"], each["ratio"], each["asked"], each["met"]) for each in claims(FIGURES)] == [
        (15, 0.44, "at least 0.35", True),
        (17, 0.833, "at least 0.9", False),
        (18, 0.6, "at least 0.7", False),
        (19, 0.8, "at least 0.7", True),
    ]
    assert claims({"towers": {"failed": "no"}, "end_to_end": {"skipped": "late"}, "search": {"failed": "no"}}) == []


def test_a_part_that_fails_or_comes_too_late_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = script("gpu", monkeypatch)

    def broken(run: Any) -> dict[str, Any]:
        raise RuntimeError("no kernel")

    monkeypatch.setitem(gpu.PARTS, "search", (broken, 100))
    run = SimpleNamespace(on_gpu=True, empty=lambda: None)
    assert gpu.measured(run, "search", 101.0)["failed"] == "RuntimeError: no kernel"
    assert gpu.measured(run, "search", 99.0) == {"skipped": "it may take 100 s, and 99 are left"}


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
