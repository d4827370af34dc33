"""Training the towers. torch is imported by what is in here and by nothing else of the package.

train_towers(config_path, *, out=None, device="auto", progress=print) -> Path
                                                                  the model directory it wrote
train_fusion(config_path, *, out=None, compare=None, model="bundled", cache=None, progress=print) -> Path
                                                                  the folder that it wrote the fusion to
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from mmsearch.index.errors import MissingExtra


def train_towers(
    config_path: Path, *, out: Path | None = None, device: str = "auto", progress: Callable[[str], None] = print
) -> Path:
    """Train both towers as a recipe says; see mmsearch.retrieval.training.towers.train_towers."""
    _need_torch("training towers")
    from mmsearch.retrieval.training import towers

    return towers.train_towers(config_path, out=out, device=device, progress=progress)


def train_fusion(
    config_path: Path,
    *,
    out: Path | None = None,
    compare: Path | None = None,
    model: str = "bundled",
    cache: Path | None = None,
    progress: Callable[[str], None] = print,
) -> Path:
    """Train the fusion as a recipe says; see mmsearch.retrieval.training.fusion_run.train_fusion."""
    _need_torch("training the fusion")
    from mmsearch.retrieval.training import fusion_run

    return fusion_run.train_fusion(config_path, out=out, compare=compare, model=model, cache=cache, progress=progress)


def _need_torch(purpose: str) -> None:
    if find_spec("torch") is None:
        raise MissingExtra(extra="train", purpose=purpose)
