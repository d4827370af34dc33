"""A model of random weights, small, as `mmsearch models add` makes one of an open_clip checkpoint.

    python benchmarks/random_towers.py OUT    (needs the extra `open-clip`)

Makes OUT/random, for `MMSEARCH_MODELS=OUT python benchmarks/quality.py --model random`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from mmsearch.retrieval.encoders import open_clip_export

CONFIG: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 256, "patch_size": 16, "head_width": 64},
    "text_cfg": {"context_length": 48, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 2},
}
PREPROCESS = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}


def main() -> None:
    with TemporaryDirectory() as folder:
        checkpoint(Path(folder))
        print(open_clip_export.add(folder, name="random", directory=Path(sys.argv[1])).name)


def checkpoint(folder: Path) -> None:
    """What open_clip reads from a folder; the weights are always the same."""
    torch.manual_seed(0)
    weights = open_clip.CLIP(**CONFIG).state_dict()
    save_file({key: value.clone() for key, value in weights.items()}, folder / "open_clip_model.safetensors")
    described = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(described), encoding="utf-8")


if __name__ == "__main__":
    main()
