"""What the towers give on a device: pictures to rows, and a training step of the bundled image tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from card import Run
from torch import Tensor


def towers(run: Run) -> dict[str, Any]:
    """Pictures that lie on the device already, uint8, to unit rows: images/s, and the share of the matrix ceiling."""
    import open_clip

    from mmsearch.retrieval.encoders.towers import ImageTower
    from mmsearch.retrieval.types import Preprocess

    out: dict[str, Any] = {}
    for name in run.sizes.models:
        precision = "pure_bf16" if run.on_gpu else "fp32"
        clip = open_clip.create_model(name, pretrained=None, precision=precision, device=run.device)
        clip = clip.eval().to(memory_format=torch.channels_last)
        side = clip.visual.image_size[0]
        module = ImageTower(clip, Preprocess(side, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))).to(run.device)
        flops = flops_of(module, pictures(1, side, run.device))
        out[name] = {"gflop_per_image": round(flops / 1e9, 2), "batches": {}}
        for batch in run.sizes.batches:
            out[name]["batches"][str(batch)] = tower_speed(run, module, pictures(batch, side, run.device), flops)
        rates = [way["images_s"] for each in out[name]["batches"].values() for way in each.values()]
        out[name]["best_share_of_ceiling"] = round(max(rates) * flops / 1e12 / run.ceilings["bf16_tflops"], 3)
        del clip, module
        run.empty()
    return out


def pictures(count: int, side: int, device: str) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), device=device, dtype=torch.uint8)


def flops_of(module: torch.nn.Module, inputs: Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    # With gradients: without, attention is one operation that the counter does not know.
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        module(inputs)
    return int(counter.get_total_flops())


def tower_speed(run: Run, module: torch.nn.Module, batch: Tensor, flops: int) -> dict[str, Any]:
    """Each way of running the tower, as torch_towers offers them."""
    from mmsearch.retrieval.encoders.torch_towers import chosen

    out: dict[str, Any] = {}
    with torch.inference_mode():
        for way in ("eager", "graph") if run.on_gpu else ("eager",):
            work = chosen(way, module, batch)  # type: ignore[arg-type]
            seconds = run.seconds(lambda work=work: work(batch))
            rate = len(batch) / seconds
            out[way] = {
                "images_s": round(rate, 1),
                "share_of_ceiling": round(rate * flops / 1e12 / run.ceilings["bf16_tflops"], 3),
            }
    return out


def training(run: Run) -> dict[str, Any]:
    """Steps of the bundled image tower with its recipe's loss of features: images/s, bf16 autocast on a GPU."""
    import tomllib

    from mmsearch.retrieval.training.image_tower import ImageTower, ImageTowerShape, normalised
    from mmsearch.retrieval.training.losses import feature_distillation

    recipe = tomllib.loads((Path(__file__).parent.parent / "recipes" / "bundled.toml").read_text())
    shape = {key: tuple(value) if isinstance(value, list) else value for key, value in recipe["image"].items()}
    tower = ImageTower(ImageTowerShape(**shape)).to(run.device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(tower.parameters(), lr=1e-3)
    side, out = recipe["side"], {}
    for batch in (128, 1024) if run.on_gpu else (8,):
        pixels = pictures(batch, side, run.device)
        wanted = torch.randn(batch, tower.shape.teacher_dim, device=run.device)

        def steps(pixels: Tensor = pixels, wanted: Tensor = wanted) -> None:
            for _ in range(run.sizes.steps):
                with torch.autocast(run.device.split(":")[0], torch.bfloat16, enabled=run.on_gpu):
                    _, features = tower(normalised(pixels))
                    loss = feature_distillation(features, wanted)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()

        out[str(batch)] = {"images_s": round(batch * run.sizes.steps / run.seconds(steps), 1)}
    return {"side": side, "parameters": sum(p.numel() for p in tower.parameters()), "batches": out}
