"""The one training loop: any module, any objective, CPU or GPU, resumable to the bit."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mmsearch.retrieval.training.optimizing import optimizers

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast.

    rate, rate_end: learning rate after the warm-up and at the last step, joined by half a cosine ("cosine"),
                    a line ("linear"), or nothing ("constant", rate_end is then unused).
    average:        decay of the exponential moving average of the weights; 0 keeps none.
    optimizer:      "adamw", or "muon" for the kernels of convolutions (`optimizing.optimizers`).
    save_every, log_every: in steps. half: bfloat16 autocast on a CPU too (worth it with AVX512-BF16);
    a GPU always has it.
    """

    steps: int
    batch: int = 128
    rate: float = 2e-3
    rate_end: float = 1e-5
    shape: str = "cosine"
    warmup: int = 100
    decay: float = 0.02
    average: float = 0.999
    clip: float = 1.0
    optimizer: str = "adamw"
    save_every: int = 500
    log_every: int = 50
    measure_every: int = 1000
    half: bool = False

    def rate_at(self, step: int) -> float:
        """Learning rate of a step.

        >>> Schedule(steps=10, warmup=0, rate=1.0, rate_end=0.0, shape="linear").rate_at(5)
        0.5
        """
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        done = min(1.0, step / self.steps)
        share = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[self.shape]
        return warm * (self.rate_end + (self.rate - self.rate_end) * share)


class Objective(Protocol):
    """What a stage lowers, and what it watches meanwhile."""

    def loss(self, model: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of one drawn batch, and its parts by name."""
        ...

    def measure(self, model: nn.Module) -> dict[str, float]:
        """Development figures of the (averaged) weights, in evaluation mode."""
        ...


def fit(
    model: nn.Module,
    objective: Objective,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    stage: str,
    progress: Progress = print,
) -> nn.Module:
    """Train to the end of the schedule, from FOLDER/STAGE.pt where that exists, and return the averaged weights.

    Writes FOLDER/STAGE.pt (checkpoint) and appends to FOLDER/log.jsonl one object every `log_every` steps.
    """
    run = _Run(model, schedule, folder / f"{stage}.pt")
    run.resume()
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed + run.step)
    begun, first, sums = time.monotonic(), run.step, _Means()
    while run.step < schedule.steps:
        rng = np.random.default_rng([seed, run.step])
        sums.add(run.advance(objective, rng))
        last = run.step == schedule.steps
        if run.step % schedule.log_every == 0 or last:
            speed = (run.step - first) * schedule.batch / (time.monotonic() - begun)
            facts = {
                "stage": stage,
                "step": run.step,
                "rate": schedule.rate_at(run.step),
                "samples_per_s": round(speed, 1),
            }
            facts |= sums.take()
            if run.step % schedule.measure_every == 0 or last:
                facts |= measured(objective, run.averaged)
            _log(folder / "log.jsonl", facts, progress)
        if run.step % schedule.save_every == 0 or last:
            run.save()
    return run.averaged


def measured(objective: Objective, model: nn.Module) -> dict[str, float]:
    training = model.training
    model.eval()
    with torch.no_grad():
        figures = objective.measure(model)
    model.train(training)
    return figures


class _Run:
    def __init__(self, model: nn.Module, schedule: Schedule, path: Path) -> None:
        self.model, self.schedule, self.path, self.step = model, schedule, path, 0
        self.averaged = copy.deepcopy(model).requires_grad_(False) if schedule.average else model
        self.optimizers = optimizers(model, schedule.optimizer, schedule.rate, schedule.decay)

    def advance(self, objective: Objective, rng: np.random.Generator) -> dict[str, float]:
        """One step of the optimiser; the losses' parts."""
        for group in (group for each in self.optimizers for group in each.param_groups):
            group["lr"] = self.schedule.rate_at(self.step)
        self.model.train()
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.schedule.half or device == "cuda"):
            loss, parts = objective.loss(self.model, self.schedule.batch, rng)
        self.model.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.schedule.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        for each in self.optimizers:
            each.step()
        self.step += 1
        self._average()
        return {"loss": float(loss.detach()), **parts}

    @torch.no_grad()
    def _average(self) -> None:
        if not self.schedule.average:
            return
        # A young average follows closely, so that its first steps do not keep the untrained weights.
        keep = min(self.schedule.average, (1 + self.step) / (10 + self.step))
        ours = self.averaged.state_dict()
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                ours[name].lerp_(value, 1 - keep)
            else:
                ours[name].copy_(value)

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(), "averaged": self.averaged.state_dict(),
            "optimizers": [each.state_dict() for each in self.optimizers], "step": self.step,
        }  # fmt: skip
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)

    def resume(self) -> None:
        if not self.path.exists():
            return
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        for each, kept in zip(self.optimizers, state["optimizers"], strict=True):
            each.load_state_dict(kept)
        self.step = state["step"]


class _Means:
    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, parts: dict[str, float]) -> None:
        self.count += 1
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        means = {name: round(value / self.count, 5) for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return means


def _log(path: Path, facts: dict[str, object], progress: Progress) -> None:
    line = json.dumps(facts)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    progress(line)
