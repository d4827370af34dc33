"""The optimisers of a training stage: AdamW for all, or Muon for the kernels of convolutions and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

BETAS = (0.9, 0.98)
# Coefficients of the quintic iteration and the five steps of it: Jordan et al. 2024.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(Optimizer):
    """Momentum whose every update is orthogonalised (Jordan et al., "Muon: an optimizer for hidden layers", 2024).

    A kernel (O, I, H, W) is taken as a matrix (O, I * H * W). The update's root mean square is brought to
    `scale`, near AdamW's own, so that both run at one learning rate (Liu et al. 2025, "Muon is scalable").
    torch.optim.Muon has the same update, for parameters of two dimensions only.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, *, momentum: float = 0.95, decay: float = 0.0, scale: float = 0.2
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay, "scale": scale})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there; a closure is not called."""
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is not None:
                    kernel.mul_(1 - group["lr"] * group["decay"])
                    kernel.add_(self._update(kernel, kernel.grad, group), alpha=-group["lr"])

    def _update(self, kernel: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[kernel]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(kernel)
        mean = state["mean"]
        mean.lerp_(gradient, 1 - group["momentum"])
        matrix = gradient.lerp(mean, group["momentum"]).reshape(len(kernel), -1)  # Nesterov's step ahead
        scaled: Tensor = orthogonalised(matrix) * (group["scale"] * max(matrix.shape) ** 0.5)
        return scaled.reshape(kernel.shape)


def orthogonalised(matrix: Tensor) -> Tensor:
    """(M, N) -> nearly the nearest matrix whose singular values are all 1; they come to lie between 0.7 and 1.2."""
    a, b, c = QUINTIC
    wide: Tensor = matrix / (matrix.norm() + 1e-7)
    if tall := len(wide) > wide.shape[1]:
        wide = wide.T
    for _ in range(ITERATIONS):
        square = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(square, square, square, beta=b, alpha=c), wide, beta=a)
    return wide.T if tall else wide


def optimizers(model: nn.Module, name: str, rate: float, decay: float) -> list[Optimizer]:
    """What moves the parameters that learn; weight decay on matrices and kernels only, not on biases and scales.

    name: "adamw" or "muon"; with the latter the kernels of convolutions, but those that see pixels, learn by Muon.
    Raises ValueError for another name.
    """
    if name not in ("adamw", "muon"):
        raise ValueError(f"optimizer {name!r} is not adamw or muon")
    learning = [each for each in model.parameters() if each.requires_grad]
    kernels = [each for each in learning if name == "muon" and each.ndim == 4 and each.shape[1] > 3]
    moved = {id(kernel) for kernel in kernels}
    rest = [each for each in learning if id(each) not in moved]
    groups = [
        {"params": [each for each in rest if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in rest if each.ndim <= 1], "weight_decay": 0.0},
    ]
    both: list[Optimizer] = [AdamW(groups, lr=rate, betas=BETAS)]
    return both + ([Muon(kernels, rate, decay=decay)] if kernels else [])
