"""Keep a result with everything that is needed to take it again."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
QUICK = Path(__file__).parents[1] / "build" / "bench"


def record(
    name: str, figures: Mapping[str, Any], *, seed: int | None = None, repeats: int = 1, quick: bool = False
) -> Path:
    """Write results/NAME.json: the figures, the command, the commit, the machine, the seed and the repeats.

    quick: the figures are of a short form; they go to build/bench, since they are too rough to be published.
    """
    document = {"name": name, **_taken(), "seed": seed, "repeats": repeats, "figures": figures}
    return _write(QUICK if quick else RESULTS, name, document)


def claim(
    row: int, what: str, *, ours: str, against: str, ratio: float, at_most: float | None = None, at_least: float = 0.0
) -> dict[str, Any]:
    """One line of the table of speeds, for the list "claims" of a result's figures; "met" says whether it holds.

    row:       its number in that table.
    ours, against: both sides with their units, in words.
    ratio:     what is claimed, rounded here to three digits; it shall be at_least so much, or at_most.

    >>> claim(6, "cold query", ours="412 ms", against="rclip -n 1,310 ms", ratio=0.3145, at_most=0.5)["asked"]
    'at most 0.5'
    """
    met = ratio >= at_least if at_most is None else ratio <= at_most
    asked = f"at least {at_least:g}" if at_most is None else f"at most {at_most:g}"
    sides = {"ours": ours, "against": against, "ratio": float(f"{ratio:.3g}")}
    return {"row": row, "what": what, **sides, "asked": asked, "met": met}


def amend(name: str, figures: Mapping[str, Any]) -> Path:
    """Replace some figures of results/NAME.json, and say under "amended" how each of them was taken."""
    document = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    document["figures"].update(figures)
    document.setdefault("amended", {}).update(dict.fromkeys(figures, _taken()))
    return _write(RESULTS, name, document)


def _taken() -> dict[str, Any]:
    """The command that is running, and on what."""
    return {
        "command": " ".join(["python", *(_portable(argument) for argument in sys.argv)]),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }


def _write(folder: Path, name: str, document: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
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
    """What git says of this checkout; nothing where there is no git."""
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip()
