"""Keep a result with everything that is needed to take it again."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def record(name: str, figures: Mapping[str, Any], *, seed: int | None = None, repeats: int = 1) -> Path:
    """Write results/NAME.json: the figures, the command, the commit, the machine, the seed and the repeats."""
    document = {"name": name, **_taken(), "seed": seed, "repeats": repeats, "figures": figures}
    return _write(name, document)


def amend(name: str, figures: Mapping[str, Any]) -> Path:
    """Replace some figures of results/NAME.json, and say under "amended" how each of them was taken."""
    document = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    document["figures"].update(figures)
    document.setdefault("amended", {}).update(dict.fromkeys(figures, _taken()))
    return _write(name, document)


def _taken() -> dict[str, Any]:
    """The command that is running, and on what."""
    return {
        "command": " ".join(["python", *(_portable(argument) for argument in sys.argv)]),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }


def _write(name: str, document: Mapping[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _portable(argument: str) -> str:
    """An argument without the folders of this machine: `--data /a/b/c` is written `--data .../c`."""
    path = Path(argument)
    return f".../{path.name}" if path.is_absolute() or ".." in path.parts else argument


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip()
