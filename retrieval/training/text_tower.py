"""The text tower: a small transformer over subwords, pooled by attention into a unit vector."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PAD = 0


@dataclass(frozen=True, slots=True)
class TextTowerShape:
    vocabulary: int = 8000
    context: int = 64
    width: int = 256
    heads: int = 4
    depth: int = 2
    dim: int = 256


class Layer(nn.Module):
    """Pre-norm self-attention and a GELU feed-forward of four times the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_in = nn.LayerNorm(width)
        self.mixing = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_out = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """x (N, L, W); hidden (N, 1, 1, L) float, 0 where a token is seen and very negative where it is padding."""
        n, length, width = x.shape
        parts = self.mixing(self.norm_in(x)).view(n, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (N, H, L, W/H)
        weights = (query @ key.transpose(-1, -2)) * (width // self.heads) ** -0.5 + hidden
        mixed = (weights.softmax(-1) @ value).transpose(1, 2).reshape(n, length, width)
        x = x + self.out(mixed)
        out: Tensor = x + self.feed(self.norm_out(x))
        return out


class TextTower(nn.Module):
    """Token ids to a shared-space vector."""

    def __init__(self, shape: TextTowerShape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.width, padding_idx=PAD)
        self.places = nn.Parameter(torch.zeros(shape.context, shape.width))
        nn.init.normal_(self.tokens.weight, std=0.5)
        nn.init.normal_(self.places, std=0.05)
        self.layers = nn.ModuleList(Layer(shape.width, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width)
        self.attend = nn.Linear(shape.width, 1)
        self.embed = nn.Linear(shape.width, shape.dim)
        # The joint stage's turn of the text space; the identity until then, and never trained by gradient here.
        self.turn = nn.Linear(shape.dim, shape.dim).requires_grad_(False)
        nn.init.eye_(self.turn.weight)
        nn.init.zeros_(self.turn.bias)

    def sentence(self, tokens: Tensor) -> Tensor:
        """(N, L) int64 padded with 0 -> (N, dim) unit rows, before the turn."""
        hidden = (tokens == PAD).to(self.places.dtype) * -1e4  # (N, L)
        x = self.tokens(tokens) + self.places[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, hidden[:, None, None, :])
        x = self.norm(x)
        share = (self.attend(x).squeeze(-1) + hidden).softmax(-1)  # (N, L)
        return functional.normalize(self.embed((share.unsqueeze(-1) * x).sum(1)), dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L) int64 padded with 0 -> (N, dim) unit rows. A row of padding alone gives a finite unit row."""
        return functional.normalize(self.turn(self.sentence(tokens)), dim=-1)
