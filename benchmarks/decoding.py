"""Decoding a 12-megapixel JPEG to the input of a tower, against Pillow's full decode and bicubic.

    python benchmarks/decoding.py --photos DIR [--repeats 9] [--quick]

Makes eight camera-like photos of those in DIR (camera.py), and prepares each both ways in turns, on one thread: to 224
pixels, the side of CLIP's towers, and to the bundled model's. The error is the mean absolute difference of the inputs,
in levels of 255; beside it stands that of the bundled model's vectors. Writes results/decoding.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import camera
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from record import claim, record
from timing import interleaved

from mmsearch.retrieval.decode import photos
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.types import Preprocess

CLIP = Preprocess(224)
Pixels = list[NDArray[np.uint8]]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--photos", type=Path, required=True)
    ask.add_argument("--repeats", type=int, default=9)
    ask.add_argument("--quick", action="store_true")
    want = ask.parse_args()
    repeats = 3 if want.quick else want.repeats
    with tempfile.TemporaryDirectory() as work:
        large = camera.photos(want.photos, Path(work), 2 if want.quick else 8)
        figures = {f"{each.size}_px": measure(large, each, repeats) for each in (CLIP, _bundled())}
        size_mb = sum(path.stat().st_size for path in large) / len(large) / 1e6
    clip = figures["224_px"]
    claims = [
        claim(
            3, "decode and resize a 12 MP JPEG to 224 px",
            ours=f"{clip['ms']['ours']:.0f} ms", against=f"Pillow {clip['ms']['pillow']:.0f} ms",
            ratio=clip["ratio"], at_most=0.22,
        ),
        claim(
            3, "its mean error, in levels of 255",
            ours="draft, then bicubic", against="full decode, then bicubic", ratio=clip["mean_error"], at_most=0.3,
        ),
    ]  # fmt: skip
    figures |= {"mean_mb": round(size_mb, 2), "claims": claims}
    print(json.dumps(figures, indent=1))
    print(record("decoding", figures, repeats=repeats, quick=want.quick))


def measure(large: list[Path], preprocess: Preprocess, repeats: int) -> dict[str, Any]:
    """Milliseconds a photo of both ways, their ratio, and how far the pixels and the vectors of the two differ."""
    made: dict[str, Pixels] = {}

    def ours() -> None:
        made["ours"] = [photos.load(path, preprocess) for path in large]

    def pillow() -> None:
        made["pillow"] = [_whole(path, preprocess) for path in large]

    times = interleaved({"ours": ours, "pillow": pillow}, repeats)
    pairs = list(zip(made["ours"], made["pillow"], strict=True))
    errors = [float(np.abs(one.astype(int) - other).mean()) for one, other in pairs]
    return {
        "ms": {name: round(times.wall_ms(name) / len(large), 1) for name in made},
        "cpu_ms": {name: round(times.cpu_ms(name) / len(large), 1) for name in made},
        "ratio": round(times.ratio("ours", "pillow"), 3),
        "cpu_ratio": round(times.cpu_ratio("ours", "pillow"), 3),
        "mean_error": round(float(np.mean(errors)), 3),
        "worst_error": round(max(errors), 3),
        **_cosines(made, preprocess),
    }


def _cosines(made: dict[str, Pixels], preprocess: Preprocess) -> dict[str, float]:
    """The least cosine of the bundled model's vectors of the same photo, where it takes such pixels."""
    if preprocess != _bundled():
        return {}
    encoder = registry.load(registry.BUNDLED, device="cpu")
    ours, whole = (encoder.images(np.stack(pixels)) for pixels in made.values())
    return {"least_cosine": round(float((ours * whole).sum(axis=1).min()), 5)}


def _bundled() -> Preprocess:
    return registry.card(registry.BUNDLED).preprocess


def _whole(path: Path, preprocess: Preprocess) -> NDArray[np.uint8]:
    with Image.open(path) as photo:
        photo.load()
        return photos.scaled(photo, photos.scaled_size(photo, preprocess), preprocess)


if __name__ == "__main__":
    main()
