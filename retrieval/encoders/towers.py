"""The two towers of an open_clip model as torch modules with the inputs and outputs of a model directory."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mmsearch.retrieval.encoders.model_directory import Pad
from mmsearch.retrieval.types import Preprocess


class ImageTower(nn.Module):
    """Pixels (N, S, S, 3) uint8 → (N, D) float32 unit rows."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, preprocess: Preprocess) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", 255 * torch.tensor(preprocess.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(preprocess.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        # Turned, not copied: pixels from a picture are channels-last in memory already.
        planes = pixels.permute(0, 3, 1, 2).float()
        features = self.model.encode_image(((planes - self.mean) / self.std).to(_dtype(self.model)))
        return nn.functional.normalize(features.float(), dim=-1)


class TextTower(nn.Module):
    """Tokens (N, L) int64 → (N, D) float32 unit rows."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._fits_length = padding(model) == "longest"

    def forward(self, tokens: Tensor) -> Tensor:
        features = self._shortened(tokens) if self._fits_length else self.model.encode_text(tokens)
        return nn.functional.normalize(features.float(), dim=-1)

    def _shortened(self, tokens: Tensor) -> Tensor:
        """encode_text of open_clip's CLIP for L below the context length, which that one does not take."""
        from open_clip.transformer import text_global_pool

        model, length = self.model, tokens.shape[1]
        x = model.token_embedding(tokens) + model.positional_embedding[:length]
        x = model.transformer(x.to(_dtype(model)), attn_mask=model.attn_mask[:length, :length])
        x = text_global_pool(model.ln_final(x), tokens, model.text_pool_type, model.text_eos_id)
        if isinstance(model.text_projection, nn.Linear):
            return cast(Tensor, model.text_projection(x))
        return cast(Tensor, x if model.text_projection is None else x @ model.text_projection)


def padding(model: Any) -> Pad:
    """`longest` where padding cannot matter: a causal mask, and the row taken at the end-of-text token."""
    from open_clip import CLIP

    causal = isinstance(model, CLIP) and model.attn_mask is not None
    return "longest" if causal and model.text_pool_type in ("argmax", "eos") else "context"


def _dtype(model: Any) -> torch.dtype:
    dtype: torch.dtype = next(model.visual.parameters()).dtype
    return dtype
