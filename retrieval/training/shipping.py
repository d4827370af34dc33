"""The last step of a training run: export, quantise where it holds, calibrate, measure, write model.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from mmsearch.retrieval.training import bank, export
from mmsearch.retrieval.training.calibration import logistic, null_moments
from mmsearch.retrieval.training.config import Recipe
from mmsearch.retrieval.training.gather import Gathered
from mmsearch.retrieval.training.image_stage import recalls
from mmsearch.retrieval.training.image_tower import ImageTower
from mmsearch.retrieval.training.pool import Progress
from mmsearch.retrieval.training.text_tower import TextTower
from mmsearch.retrieval.training.tokenizing import token_array, trimmed

LIBRARY = 1000  # calibration is measured in a library of about so many rows
FAITHFUL = 0.995  # the least mean cosine between a quantised tower and its float32 original


def ship(
    recipe: Recipe, work: Path, image: ImageTower, text: TextTower, tokenizer: Tokenizer, gathered: Gathered,
    progress: Progress,
) -> Path:  # fmt: skip
    """Write WORK/model, all of it by the CPU, and return it."""
    with torch.device("cpu"):
        return _ship(recipe, work, image.cpu(), text.cpu(), tokenizer, gathered, progress)


def _ship(
    recipe: Recipe, work: Path, image: ImageTower, text: TextTower, tokenizer: Tokenizer, gathered: Gathered,
    progress: Progress,
) -> Path:  # fmt: skip
    folder = work / "model"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = token_array(tokenizer, gathered.captions[:200], text.shape.context)
    mirror = bool(recipe.section("export").get("mirror", False))
    export_towers(folder, image, text, tokens, recipe.side, mirror=mirror)
    shipped = Shipped(folder, tokenizer, text.shape.context)
    bank.write(folder, gathered.captions, shipped.texts)
    calibration, null = calibrate(shipped, gathered, recipe.seed)
    facts = recipe.section("card")
    export.write_model_json(
        folder, name=recipe.name, version=recipe.version, dim=text.shape.dim, side=recipe.side,
        context=text.shape.context, description=str(facts.get("description", recipe.name)),
        licence=str(facts.get("licence", "see the licences of the photos and captions it was trained on")),
        calibration=calibration, null=null, metrics=dev_figures(shipped, gathered),
    )  # fmt: skip
    progress(f"wrote {folder}")
    return folder


def export_towers(
    folder: Path, image: ImageTower, text: TextTower, tokens: np.ndarray, side: int, *, mirror: bool = False
) -> None:
    """Both ONNX files: the text tower 8-bit where it stays faithful, the image tower's weights stored as float16."""
    plain_text = folder / "text.float.onnx"
    export.export_text(text, plain_text)
    export.quantise_weights(plain_text, folder / "text.onnx")
    export.keep_faithful(plain_text, folder / "text.onnx", {"tokens": trimmed(tokens)}, FAITHFUL)
    export.export_image(image, folder / "image.onnx", side, mirror=mirror)
    export.halve_weights(folder / "image.onnx")


class Shipped:
    """The exported towers, as the product runs them."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, context: int) -> None:
        self._image, self._text = export.session(folder / "image.onnx"), export.session(folder / "text.onnx")
        self._tokenizer, self._context = tokenizer, context

    def images(self, pixels: np.ndarray) -> np.ndarray:
        """(N, S, S, 3) uint8 -> (N, D) unit rows."""
        parts = [self._image.run(None, {"pixels": pixels[at : at + 50]})[0] for at in range(0, len(pixels), 50)]
        return np.concatenate(parts)

    def texts(self, texts: list[str]) -> np.ndarray:
        """(T, D) unit rows."""
        tokens = token_array(self._tokenizer, texts, self._context)
        parts = [
            self._text.run(None, {"tokens": trimmed(tokens[at : at + 50])})[0] for at in range(0, len(tokens), 50)
        ]  # fmt: skip
        return np.concatenate(parts)


def calibrate(shipped: Shipped, gathered: Gathered, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(calibration, null) by query and view modality, on captioned training photos.

    A photo's own row is: for a text, the photo of that caption; for a text among texts, another caption of its photo;
    for a photo among photos, another crop of it; for a photo among texts, its caption.
    """
    rng = np.random.default_rng(seed)
    photos = rng.permutation(len(gathered.captioned))[:LIBRARY]
    pixels = gathered.pool.pixels(gathered.captioned[photos])
    captions = [[gathered.captions[i] for i in gathered.caption_rows[at]] for at in photos]
    first, other = (shipped.texts([c[min(at, len(c) - 1)] for c in captions]) for at in (0, 1))
    whole, part = shipped.images(pixels), shipped.images(_cropped(pixels, rng))
    own = np.arange(len(photos))
    pairs = {
        "text": {"image": (first, whole), "text": (first, other)},
        "image": {"image": (part, whole), "text": (whole, first)},
    }
    null: dict[str, Any] = {}
    calibration: dict[str, Any] = {}
    for query, views in pairs.items():
        null[query], calibration[query] = {}, {}
        for view, (left, right) in views.items():
            moments = null_moments(left, right, own)
            null[query][view] = [round(value, 6) for value in moments]
            calibration[query][view] = [round(value, 4) for value in logistic(left, right, own, moments)]
    return calibration, null


def _cropped(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, S, S, 3) -> the same shape: a crop of 80 % of each side, mirrored half of the time, scaled up again."""
    side = pixels.shape[1]
    crop = round(side * 0.8)
    out = np.empty_like(pixels)
    for at, photo in enumerate(pixels):
        y, x = rng.integers(0, side - crop + 1, 2)
        cut = torch.from_numpy(photo[y : y + crop, x : x + crop].copy()).permute(2, 0, 1)[None].float()
        grown = torch.nn.functional.interpolate(cut, (side, side), mode="bicubic").clamp(0, 255)
        out[at] = grown[0].permute(1, 2, 0).numpy().astype(np.uint8)
    flip = rng.random(len(out)) < 0.5
    out[flip] = out[flip, :, ::-1]
    return out


def dev_figures(shipped: Shipped, gathered: Gathered) -> dict[str, float]:
    """Text-to-image recall on every development set."""
    figures: dict[str, float] = {}
    for name, part in gathered.dev.items():
        scores = shipped.texts(part.captions) @ shipped.images(part.pixels).T
        figures |= {f"{name}_{key}": value for key, value in recalls(scores, part.owner).items()}
    return figures
