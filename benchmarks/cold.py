"""What a person waits for: the installed size, a cold `mmsearch query`, and indexing.

    python benchmarks/cold.py --photos DIR [--repeats 15]

Installs the project into a fresh environment, indexes the photos with the bundled model, then runs a query and
`python -c "import numpy"` in turn, each in a new process. Writes results/cold.json: medians, and the median of
the ratios of neighbouring runs, which is what carries over to another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import record

PROJECT = Path(__file__).parents[1]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--photos", type=Path, required=True)
    ask.add_argument("--repeats", type=int, default=15)
    want = ask.parse_args()
    with tempfile.TemporaryDirectory() as work:
        environment = Path(work) / "venv"
        before_mb = install(environment)
        figures = {
            "installed_mb": round(size_mb(environment) - before_mb),
            "installed_with_pip_mb": round(size_mb(environment)),
            **measure(environment / "bin", Path(work) / "library", want.photos, want.repeats),
        }
    print(json.dumps(figures, indent=1))
    print(record("cold", figures, repeats=want.repeats))


def install(environment: Path) -> float:
    """Install `.[cpu]` into a new environment; returns the megabytes that it had before."""
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    before_mb = size_mb(environment)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"{PROJECT}[cpu]"], check=True, stderr=subprocess.DEVNULL)
    return before_mb


def size_mb(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


def measure(programs: Path, library: Path, photos: Path, repeats: int) -> dict[str, Any]:
    """Index the photos once, then time queries against the import of numpy."""
    mmsearch, python = str(programs / "mmsearch"), str(programs / "python")
    at = ["--library", str(library)]
    indexed = subprocess.run(
        [mmsearch, "index", str(photos), *at, "--json"], check=True, capture_output=True, text=True
    )
    report = json.loads(indexed.stdout)
    commands = {
        "query": [mmsearch, "query", "a dog on a beach", *at],
        "query_no_rerank": [mmsearch, "query", "a dog on a beach", "--no-rerank", *at],
        "import_numpy": [python, "-c", "import numpy"],
        "python": [python, "-c", ""],
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(timed(command))
    over_numpy = [query[0] / numpy[0] for query, numpy in zip(runs["query"], runs["import_numpy"], strict=True)]
    return {
        "index": report,
        "wall_ms": {name: round(1000 * statistics.median(wall for wall, _ in each)) for name, each in runs.items()},
        "cpu_ms": {name: round(1000 * statistics.median(cpu for _, cpu in each)) for name, each in runs.items()},
        "query_over_import_numpy": round(statistics.median(over_numpy), 2),
        "cpu_query_over_import_numpy": round(
            statistics.median(q[1] / n[1] for q, n in zip(runs["query"], runs["import_numpy"], strict=True)), 2
        ),
    }


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"MMSEARCH_MODEL": "bundled"})
    wall = time.perf_counter() - started
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


if __name__ == "__main__":
    main()
