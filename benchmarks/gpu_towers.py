"""What the towers give on a device: pictures to rows, and a training step of the bundled image tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from card import Run, attempt
from torch import Tensor


def towers(run: Run) -> dict[str, Any]:
    """Pictures that lie on the device already, uint8, to unit rows: images/s, and the share of the matrix ceiling."""
    return {name: attempt(lambda name=name: tower(run, name)) for name in run.sizes.models}


def tower(run: Run, name: str) -> dict[str, Any]:
    """One model's image tower in every way and batch, and how far its rows are from those of full precision."""
    import open_clip

    from mmsearch.retrieval.encoders.towers import ImageTower
    from mmsearch.retrieval.types import Preprocess

    def made(precision: str) -> torch.nn.Module:
        clip = open_clip.create_model(name, pretrained=None, precision=precision, device=run.device)
        side = clip.visual.image_size[0]
        preprocess = Preprocess(side, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        module: torch.nn.Module = ImageTower(clip.eval().to(memory_format=torch.channels_last), preprocess)
        return module.to(run.device)

    exact, module = made("fp32"), made("pure_bf16" if run.on_gpu else "fp32")
    module.load_state_dict(exact.state_dict())
    side = module.model.visual.image_size[0]
    batch = pictures(min(64, *run.sizes.batches), side, run.device)
    with torch.inference_mode():
        cosine = float((exact(batch) * module(batch)).sum(dim=1).min())
    del exact
    run.empty()
    flops = flops_of(module, pictures(1, side, run.device))
    ways = {
        f"{size} at once, {way}": attempt(lambda size=size, way=way: speed(run, module, size, side, way, flops))
        for size in run.sizes.batches
        for way in ways_of(run, size)
    }
    figures = {"gflop_per_image": round(flops / 1e9, 2), "min_cosine_to_fp32": round(cosine, 5), "ways": ways}
    done = {how: each for how, each in ways.items() if "share" in each}
    if done:
        how = max(done, key=lambda each: done[each]["share"])
        figures["best"] = {"how": f"{done[how]['images_s']} images/s ({how})", "share": done[how]["share"]}
    return figures


def ways_of(run: Run, size: int) -> tuple[str, ...]:
    """The ways in which a batch is run, as torch_towers offers them."""
    if not run.on_gpu:
        return ("eager",)
    return ("eager", "graph", "compile") if size == run.sizes.compiled else ("eager", "graph")


def pictures(count: int, side: int, device: str) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), device=device, dtype=torch.uint8)


def flops_of(module: torch.nn.Module, inputs: Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    # With gradients: without, attention is one operation that the counter does not know.
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        module(inputs)
    return int(counter.get_total_flops())


def speed(run: Run, module: torch.nn.Module, size: int, side: int, way: Any, flops: int) -> dict[str, Any]:
    """One way of running a tower. A way that cannot be had fails: what runs instead is measured as eager."""
    from mmsearch.retrieval.encoders.torch_towers import chosen

    batch = pictures(size, side, run.device)
    with torch.inference_mode():
        work = chosen(way, module, batch)
        if way != "eager" and work is module:
            raise RuntimeError(f"{way} cannot be had")
        rate = size / run.seconds(lambda: work(batch))
    return {
        "images_s": round(rate, 1),
        "share": round(rate * flops / 1e12 / run.ceilings["bf16_tflops"], 3),
    }


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
