"""Photos as a camera makes them, out of smaller ones: 12 megapixels, with a sensor's noise, 3 to 5 MB a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SIZE = (4000, 3000)
NOISE = 7.0  # levels of 255, as a small sensor has at ISO 400; it gives the files their size
QUALITY = 88


def photos(source: Path, out: Path, count: int, seed: int = 0) -> list[Path]:
    """So many JPEGs in the folder out, made where they are not there yet; a smaller photo serves again, mirrored."""
    small = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not small:
        raise SystemExit(f"there are no JPEGs in {source}")
    out.mkdir(parents=True, exist_ok=True)
    made = [out / f"IMG_{at:04}.jpg" for at in range(count)]
    for at, path in enumerate(made):
        if not path.exists():
            _enlarge(small[at % len(small)], path, turn=at // len(small), rng=np.random.default_rng((seed, at)))
    return made


def _enlarge(source: Path, path: Path, turn: int, rng: np.random.Generator) -> None:
    with Image.open(source) as photo:
        large = ImageOps.fit(photo.convert("RGB"), SIZE, Image.Resampling.BICUBIC)
    if turn % 2:
        large = ImageOps.mirror(large)
    if turn // 2 % 2:
        large = ImageOps.flip(large)
    noise = NOISE * rng.standard_normal((SIZE[1], SIZE[0], 1), np.float32)
    noisy = np.clip(np.asarray(large, np.float32) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(path, quality=QUALITY)
