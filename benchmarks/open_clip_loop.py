"""What one writes without a library of search: a loop of open_clip in torch over a folder of photos.

    build/peers/open_clip/bin/python benchmarks/open_clip_loop.py CHECKPOINT PHOTOS OUT.npy

In full precision, photos decoded by as many processes as there are cores, as clip-retrieval's inference does it. Prints
the seconds from the first photo to the last vector, without the imports and the loading.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

BATCH = 16


class Photos(Dataset[torch.Tensor]):
    """The photos of a folder, prepared as open_clip does it."""

    def __init__(self, folder: Path, preprocess: object) -> None:
        self.paths = sorted(folder.glob("*.jpg"))
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> torch.Tensor:
        with Image.open(self.paths[at]) as photo:
            pixels: torch.Tensor = self.preprocess(photo)  # type: ignore[operator]
        return pixels


def main() -> None:
    checkpoint, folder, out = sys.argv[1:]
    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32-256", pretrained=checkpoint)
    model.eval()
    batches = DataLoader(Photos(Path(folder), preprocess), batch_size=BATCH, num_workers=os.cpu_count() or 1)
    begun = time.perf_counter()
    with torch.inference_mode():
        rows = [model.encode_image(batch, normalize=True) for batch in batches]
    np.save(out, torch.cat(rows).numpy())
    print(round(time.perf_counter() - begun, 3))


if __name__ == "__main__":
    main()
