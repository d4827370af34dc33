"""The scripts of benchmarks/, for tests of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def script(name: str, monkeypatch: pytest.MonkeyPatch, **folders: Path) -> Any:
    """The module of that name, which finds those beside it, with some of its folders in place of its own."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module(name)
    for attribute, folder in folders.items():
        monkeypatch.setattr(module, attribute, folder)
    return module
