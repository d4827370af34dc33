"""A tiny open_clip model for tests: the real architecture and tokenizer, two narrow layers, random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESS = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}


def make_tiny_clip(directory: Path, *, seed: int = 0, text: dict[str, Any] | None = None, **preprocess: Any) -> Path:
    """Write what open_clip reads as `local-dir:` or from the hub, and give the directory.

    text and preprocess replace single settings of the configuration.
    """
    import torch
    from open_clip import CLIP
    from safetensors.torch import save_file

    directory.mkdir(parents=True)
    config = CONFIG | {"text_cfg": CONFIG["text_cfg"] | (text or {})}
    torch.manual_seed(seed)
    weights = CLIP(**config).state_dict()
    save_file({key: value.clone() for key, value in weights.items()}, directory / "open_clip_model.safetensors")
    document = {"model_cfg": config, "preprocess_cfg": PREPROCESS | preprocess}
    (directory / "open_clip_config.json").write_text(json.dumps(document))
    return directory
