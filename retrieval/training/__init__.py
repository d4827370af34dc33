"""Training the towers. torch is imported by what is in here and by nothing else of the package.

train_towers(config_path, *, out=None, progress=print) -> Path    the model directory it wrote
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def train_towers(config_path: Path, *, out: Path | None = None, progress: Callable[[str], None] = print) -> Path:
    """Train both towers as a recipe says; see mmsearch.retrieval.training.towers.train_towers."""
    from mmsearch.retrieval.training import towers

    return towers.train_towers(config_path, out=out, progress=progress)
