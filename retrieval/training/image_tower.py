"""The image tower: a small convolutional net from pixels to a unit vector.

Plain convolutions, batch normalisation and ReLU only: they train fast on a CPU and fold into few ONNX nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

_EVEN = 1e-4  # so that a map that is the same everywhere has a slope


@dataclass(frozen=True, slots=True)
class ImageTowerShape:
    """widths and depths of the four stages at strides 4, 8, 16, 32; block is "basic", "bottleneck" or "meta"."""

    stem: int = 24
    widths: tuple[int, ...] = (48, 96, 192, 384)
    depths: tuple[int, ...] = (1, 2, 4, 2)
    block: str = "bottleneck"
    ratio: float = 2.0
    last: int = 768
    dim: int = 256
    teacher_dim: int = 384


def convolution(
    entry: int, exit_: int, kernel: int = 3, stride: int = 1, *, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution without bias, batch normalisation, and ReLU where asked."""
    layers: list[nn.Module] = [
        nn.Conv2d(entry, exit_, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(exit_),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Residual(nn.Module):
    """x + f(x); f's last scale starts at zero, so that a fresh block is the identity (Goyal et al. 2017)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        last = layers[-1]
        if isinstance(last, nn.Sequential) and isinstance(last[1], nn.BatchNorm2d):
            nn.init.constant_(last[1].weight, 0.2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = functional.relu(x + self.layers(x))
        return out


def block(kind: str, width: int, ratio: float) -> Residual:
    """A residual block of one width; `ratio` is the squeeze of a bottleneck or the expansion of a meta block."""
    if kind == "basic":
        return Residual(convolution(width, width), convolution(width, width, relu=False))
    if kind == "bottleneck":
        inner = round(width / ratio)
        return Residual(
            convolution(width, inner, 1), convolution(inner, inner), convolution(inner, width, 1, relu=False)
        )
    if kind == "meta":
        inner = round(width * ratio)
        mix = convolution(width, width, groups=width, relu=False)
        return Residual(mix, convolution(width, inner, 1), convolution(inner, width, 1, relu=False))
    raise ValueError(f"block {kind!r} is not basic, bottleneck or meta")


class ImageTower(nn.Module):
    """Pixels to a shared-space vector, and to the teacher's features while training."""

    def __init__(self, shape: ImageTowerShape) -> None:
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = [convolution(3, shape.stem, 3, 2), convolution(shape.stem, shape.widths[0], 3, 2)]
        for at, (width, depth) in enumerate(zip(shape.widths, shape.depths, strict=True)):
            if at:
                layers.append(convolution(shape.widths[at - 1], width, 3, 2))
            layers.extend(block(shape.block, width, shape.ratio) for _ in range(depth))
        layers.append(convolution(shape.widths[-1], shape.last, 1))
        self.trunk = nn.Sequential(*layers)
        self.embed: nn.Module = nn.Linear(2 * shape.last, shape.dim)
        self.imitate = nn.Linear(2 * shape.last, shape.teacher_dim)

    def pooled(self, pixels: Tensor) -> Tensor:
        """(N, 2 last): mean and spread over the last map of normalised (N, 3, S, S) pixels.

        The spread tells a thing in one place from a texture all over (statistics pooling, Snyder et al. 2018).
        """
        maps = self.trunk(pixels)
        mean = maps.mean(dim=(2, 3))
        variance = (maps - mean[:, :, None, None]).square().mean(dim=(2, 3))
        return torch.cat([mean, (variance + _EVEN).sqrt()], dim=1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised (N, 3, S, S) pixels -> ((N, dim) unit rows, (N, teacher_dim) imitated features)."""
        pooled = self.pooled(pixels)
        return functional.normalize(self.embed(pooled), dim=-1), self.imitate(pooled)


def normalised(pixels: Tensor) -> Tensor:
    """(N, S, S, 3) uint8 RGB -> (N, 3, S, S) float, channels last in memory."""
    mean = torch.tensor(MEAN, device=pixels.device) * 255
    std = torch.tensor(STD, device=pixels.device) * 255
    return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
