"""What a person waits for: the installed size, a cold `mmsearch query`, and indexing.

    python benchmarks/cold.py --photos DIR [--repeats 15]

Installs the project into a fresh environment, indexes the photos with the bundled model, then runs a query and
`python -c "import numpy"` in turn, each in a new process. Writes results/cold.json: medians, and the median of
the ratios of neighbouring runs, which is what carries over to another machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from record import record
from timing import interleaved, quietly

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
    ask = partial(quietly, MMSEARCH_MODEL="bundled")
    times = interleaved({name: partial(ask, command) for name, command in commands.items()}, repeats)
    return {
        "index": report,
        **times.figures(digits=0),
        "query_over_import_numpy": round(times.ratio("query", "import_numpy"), 2),
        "cpu_query_over_import_numpy": round(times.cpu_ratio("query", "import_numpy"), 2),
    }


if __name__ == "__main__":
    main()
