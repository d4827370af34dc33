"""One ViT-B-32-256 with random weights, as open_clip's checkpoint, as our model directories and as rclip's files.

    build/peers/open_clip/bin/python benchmarks/clip_towers.py OUT

Speed does not depend on what the weights know, and so nothing has to be downloaded. Makes, where they are not there
yet: OUT/checkpoint.pt; OUT/models/int8 and OUT/models/fp32, as `mmsearch models add` makes them, with and without the
step to eight bits; and OUT/rclip, a data directory in which rclip 3.3 finds its models.
"""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path
from typing import Any

import onnx
import open_clip
import torch
from torch import nn

from mmsearch.retrieval.encoders import exporting, open_clip_export

ARCHITECTURE = "ViT-B-32-256"
RCLIP_MODEL = "ViT-B-32-256-datacomp_s34b_b86k"
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"


def main() -> None:
    out = Path(sys.argv[1]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    weights = checkpoint(out / "checkpoint.pt")
    for precision, least_cosine in (("int8", exporting.INT8_COSINE), ("fp32", math.inf)):
        if not (out / "models" / precision).exists():
            exporting.INT8_COSINE = least_cosine
            open_clip_export.add(f"{ARCHITECTURE}:{weights}", name=precision, directory=out / "models")
    rclip_files(weights, out / "rclip")


def checkpoint(path: Path) -> Path:
    """The random weights, always the same."""
    if not path.exists():
        torch.manual_seed(0)
        torch.save(open_clip.create_model(ARCHITECTURE).state_dict(), path)
    return path


def rclip_files(weights: Path, folder: Path) -> None:
    """What rclip downloads: both towers in full precision, and the vocabulary of the tokenizer."""
    towers = folder / RCLIP_MODEL
    if (towers / "textual.onnx").exists():
        return
    towers.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer").mkdir(exist_ok=True)
    shutil.copy(Path(open_clip.__file__).with_name(VOCABULARY), folder / "tokenizer")
    model = open_clip.create_model(ARCHITECTURE, pretrained=str(weights)).eval()
    _export(_Calls(model.encode_image), torch.zeros(2, 3, 256, 256), towers / "visual.onnx")
    _export(_Calls(model.encode_text), torch.zeros(2, 77, dtype=torch.int64), towers / "textual.onnx")


class _Calls(nn.Module):
    """A method of a model as a module of its own."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.model = method.__self__
        self.name = method.__name__

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = getattr(self.model, self.name)(batch)
        return rows


def _export(tower: nn.Module, example: torch.Tensor, path: Path) -> None:
    program: Any = torch.onnx.export(
        tower, (example,), input_names=["input"], output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("N")},), opset_version=exporting.OPSET, dynamo=True, verbose=False,
    )  # fmt: skip
    onnx.save(program.model_proto, path)


if __name__ == "__main__":
    main()
