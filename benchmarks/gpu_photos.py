"""Photos into a library by way of a GPU, beside reading the same photos alone."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from card import Run, Sizes
from PIL import Image

from mmsearch.retrieval.encoders import registry


def end_to_end(run: Run) -> dict[str, Any]:
    """A folder of photos into a library, in turns with reading the same photos alone in as many processes.

    The processes are started anew by each; the towers are loaded and warm, as any longer run has them.
    """
    from mmsearch import Library

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        photos = made_photos(work / "photos", run.sizes)
        model = gpu_model(work / "model") if run.on_gpu else registry.find(registry.BUNDLED)
        read_alone(model, photos)  # fills the cache of files
        turns = []
        for turn in range(run.sizes.turns):
            with Library.open(work / f"library-{turn}", model=str(model), device=run.device) as library:
                side = library.card.preprocess.size
                library.encoder.images(np.zeros((min(512, len(photos)), side, side, 3), np.uint8))
                report = library.index([photos[0].parent])
            turns.append((read_alone(model, photos), len(photos) / report.seconds, report.device_busy))
            if report.added != len(photos):
                raise RuntimeError(f"{report.added} of {len(photos)} photos were added")
    reading, indexed, busy = sorted(turns, key=lambda each: each[1] / each[0])[len(turns) // 2]
    return {
        "photos": len(photos),
        "read_alone_s": round(reading, 1),
        "indexed_s": round(indexed, 1),
        "share_of_reading": round(indexed / reading, 3),
        "device_busy": None if busy is None else round(busy, 4),
    }


def made_photos(folder: Path, sizes: Sizes) -> list[Path]:
    """As many JPEG files as are asked for: some different ones, each copied with bytes of its own at the end."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    width, height = sizes.photo_side
    originals = []
    for at in range(min(16, sizes.photos)):
        coarse = rng.integers(0, 256, (height // 25, width // 25, 3), np.uint8)
        path = folder.parent / f"original-{at}.jpg"
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
        originals.append(path.read_bytes())
    paths = [folder / f"{at:05}.jpg" for at in range(sizes.photos)]
    for at, path in enumerate(paths):
        path.write_bytes(originals[at % len(originals)] + at.to_bytes(8, "big"))
    return paths


def gpu_model(folder: Path) -> Path:
    """A model directory of ViT-B-32 with random weights, for torch alone: its ONNX files are empty."""
    import open_clip
    from safetensors.torch import save_file

    from mmsearch.retrieval.encoders import model_directory
    from mmsearch.retrieval.types import Preprocess

    bundled = registry.find(registry.BUNDLED)
    shutil.copytree(bundled, folder)
    (folder / "open_clip").mkdir()
    for name in ("image.onnx", "text.onnx"):
        (folder / name).write_bytes(b"")
    config = open_clip.get_model_config("ViT-B-32")
    clip = open_clip.create_model("ViT-B-32", pretrained=None)
    save_file(
        {key: value.clone() for key, value in clip.state_dict().items()},
        folder / "open_clip" / "open_clip_model.safetensors",
    )
    document = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip" / "open_clip_config.json").write_text(json.dumps(document))
    read = model_directory.read(folder)
    card = replace(
        read.card,
        name="benchmark",
        dim=config["embed_dim"],
        preprocess=Preprocess(224, mean=(0.5,) * 3, std=(0.25,) * 3),
    )
    return model_directory.write(replace(read, card=card)).path


class Nothing:
    """The end of a feed that does nothing with the pixels."""

    def adopt(self, memory: object) -> None: ...

    def want(self) -> str:
        return "pixels"

    def finish(self, slot: object, picture: object) -> None: ...

    def stack(self, pixels: object) -> None: ...

    def close(self) -> None: ...


def read_alone(model: Path, photos: list[Path]) -> float:
    """Photos a second that worker processes read, the digest of each file taken as well, and nothing else."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    from mmsearch.index.items import Root
    from mmsearch.retrieval import files
    from mmsearch.retrieval.feeding import WorkerFeed
    from mmsearch.retrieval.types import File

    cores = os.cpu_count() or 1
    begun = time.perf_counter()
    feed = WorkerFeed(model, Nothing(), max_megapixels=100, workers=cores)  # type: ignore[arg-type]

    def read(path: Path) -> None:
        files.digest(path)
        feed.decode(File(Root(1, path.parent), path.name, "image", path.stat().st_size, 0), [], True)

    with ThreadPoolExecutor(2 * cores) as pool:
        list(pool.map(read, photos))
    rate = len(photos) / (time.perf_counter() - begun)
    feed.close()
    return rate
