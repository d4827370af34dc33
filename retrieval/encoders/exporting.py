"""The steps of exporting a loaded open_clip model, each compared with the original."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from mmsearch.index.errors import ModelInvalid, Unreadable
from mmsearch.retrieval.decode import photos as photo_files
from mmsearch.retrieval.encoders import model_directory, open_clip_tokenizer, samples
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.encoders.batches import unit_rows
from mmsearch.retrieval.encoders.model_directory import BANK, CHECKPOINT, ModelDirectory
from mmsearch.retrieval.encoders.quantise import quantised
from mmsearch.retrieval.encoders.tokens import Tokens
from mmsearch.retrieval.encoders.towers import ImageTower, TextTower, padding
from mmsearch.retrieval.types import Preprocess

OPSET = 20  # the first with Gelu as one operation
EXPORT_COSINE = 0.9999  # an export in full precision that is further off is another model
INT8_COSINE = 0.999
WEIGHT_BITS: tuple[Literal[7, 8], ...] = (7, 8)  # the quicker first
TRIED_PICTURES = 16
COMPARED_PICTURES = 50

Rows = NDArray[np.float32]
Interpolation = Literal["bicubic", "bilinear"]


@dataclass(frozen=True, slots=True)
class Original:
    """A model as open_clip has it. config: what its architecture is built from."""

    spec: str
    model: Any
    preprocess: Any
    tokenizer: Any
    config: dict[str, Any]


def export(original: Original, name: str, folder: Path, photos: Path | None, progress: Callable[[str], None]) -> None:
    """Write the model directory of an open_clip model into folder; ModelInvalid where it is not the same."""
    progress("comparing the preprocessing")
    preprocess = preprocessing(original)
    pictures, tried_on = _pictures(photos)
    check_preprocessing(original, preprocess, [*pictures, *samples.pictures(COMPARED_PICTURES, seed=1)])
    progress("comparing the tokenizer")
    model = _with_tokenizer(original, name, folder, preprocess)
    progress("exporting the image tower")
    wanted = _image_rows(original, pictures)
    pixels = np.stack([photo_files.load(picture, preprocess) for picture in pictures])
    image = _tower(ImageTower(original.model, preprocess), pixels, wanted, folder / "image.onnx", original.spec)
    progress("exporting the text tower")
    text_rows = _text_rows(original, samples.CAPTIONS)
    tokens = Tokens(model)
    array = tokens.batch(tokens.encode(samples.CAPTIONS))
    text = _tower(TextTower(original.model), array, text_rows, folder / "text.onnx", original.spec)
    progress("saving")
    np.save(folder / BANK, text_rows.astype(np.float16))
    save_checkpoint(original, folder / CHECKPOINT)
    metrics = {"image": image, "text": text, "tried_on": f"{len(samples.CAPTIONS)} captions and {tried_on}"}
    card = replace(model.card, dim=wanted.shape[1], null=_null({"text": text_rows, "image": wanted}), metrics=metrics)
    model_directory.write(replace(model, card=card))


def preprocessing(original: Original) -> Preprocess:
    """How the model wants its photos; ModelInvalid where that is not a plain resize to a square."""
    wanted = original.model.visual.preprocess_cfg
    size, mode = wanted["size"], wanted["resize_mode"]
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1 or mode not in ("shortest", "squash"):
        raise ModelInvalid(
            model=original.spec, reason=f"photos cannot be prepared as it wants (size {size}, resize {mode})"
        )
    # open_clip takes bicubic for every other word.
    interpolation: Interpolation = "bilinear" if wanted["interpolation"] == "bilinear" else "bicubic"
    return Preprocess(sides.pop(), mode, interpolation, tuple(wanted["mean"]), tuple(wanted["std"]))


def check_preprocessing(original: Original, preprocess: Preprocess, pictures: list[Image.Image]) -> None:
    """Compare the pixels that both make of RGB pictures; ModelInvalid where one byte differs."""
    *steps, _to_tensor, _normalise = original.preprocess.transforms
    for picture in pictures:
        theirs = picture
        for step in steps:
            theirs = step(theirs)
        if not np.array_equal(photo_files.load(picture, preprocess), np.asarray(theirs)):
            raise ModelInvalid(model=original.spec, reason=f"its preprocessing differs on a picture of {picture.size}")


def save_checkpoint(original: Original, folder: Path) -> None:
    """Keep configuration and weights, in half precision, so that a GPU needs no network and no conversion."""
    from safetensors.torch import save_file

    folder.mkdir()
    config = {"model_cfg": original.config, "preprocess_cfg": original.model.visual.preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    # Copied, since safetensors refuses tensors that share memory.
    weights = {key: value.half().clone() for key, value in original.model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def _pictures(photos: Path | None) -> tuple[list[Image.Image], str]:
    """RGB pictures to try the model on, and what they are."""
    if photos is None:
        return samples.pictures(TRIED_PICTURES), f"{TRIED_PICTURES} made-up pictures"
    found: list[Image.Image] = []
    for path in sorted(photos.rglob("*")):
        if path.is_file() and len(found) < COMPARED_PICTURES:
            try:
                with photo_files.opened(path, max_megapixels=100) as photo:
                    found.append(photo.convert("RGB"))
            except Unreadable:
                continue
    if len(found) < 2:
        raise ModelInvalid(model=str(photos), reason="it needs at least two photos to be tried on")
    return found, f"{len(found)} photos"


def _with_tokenizer(original: Original, name: str, folder: Path, preprocess: Preprocess) -> ModelDirectory:
    tokenizer, text = open_clip_tokenizer.converted(original.tokenizer, padding(original.model), original.spec)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    card = ModelCard(
        name=name,
        dim=0,
        fingerprint="",
        preprocess=preprocess,
        context_length=int(original.tokenizer.context_length),
        description=f"open_clip {original.spec}",
    )
    model = ModelDirectory(folder, card, text, source=original.spec)
    open_clip_tokenizer.check(model, original.tokenizer)
    return model


def _image_rows(original: Original, pictures: list[Image.Image]) -> Rows:
    """(N, D) unit rows of N pictures, by open_clip alone."""
    with torch.inference_mode():
        features = [original.model.encode_image(original.preprocess(picture)[None]) for picture in pictures]
        return unit_rows(torch.cat(features).numpy())


def _text_rows(original: Original, texts: list[str]) -> Rows:
    """(N, D) unit rows of N texts, by open_clip alone."""
    parts = (texts[start : start + 32] for start in range(0, len(texts), 32))
    with torch.inference_mode():
        features = [original.model.encode_text(original.tokenizer(part)) for part in parts]
        return unit_rows(torch.cat(features).numpy())


def _tower(tower: nn.Module, inputs: NDArray[Any], wanted: Rows, path: Path, spec: str) -> dict[str, Any]:
    """Write the graph of a tower, in bytes where that changes no row much, and say which it was."""
    exact = _graph(tower.eval(), inputs)
    cosine = _worst_cosine(exact, inputs, wanted)
    if cosine < EXPORT_COSINE:
        raise ModelInvalid(model=spec, reason=f"{path.name} has a cosine of {cosine:.5f} to the original")
    small, bits, small_cosine = _smallest(exact, inputs, wanted)
    if small_cosine < INT8_COSINE:
        onnx.save(exact, path)
        return {"precision": "fp32", "min_cosine": round(cosine, 6), "int8_min_cosine": round(small_cosine, 6)}
    onnx.save(small, path)
    return {"precision": "int8", "weight_bits": bits, "min_cosine": round(small_cosine, 6)}


def _smallest(exact: onnx.ModelProto, inputs: NDArray[Any], wanted: Rows) -> tuple[onnx.ModelProto, int, float]:
    """The quickest graph in bytes that is near enough to the original, else the nearest; its weight bits and cosine."""
    for bits in WEIGHT_BITS:
        small = quantised(exact, bits)
        cosine = _worst_cosine(small, inputs, wanted)
        if cosine >= INT8_COSINE:
            break
    return small, bits, cosine


def _graph(tower: nn.Module, inputs: NDArray[Any]) -> onnx.ModelProto:
    """The tower as an ONNX graph, over any number of rows and, for texts that are not filled up, any length."""
    name = "pixels" if inputs.ndim == 4 else "tokens"
    grows = {0: torch.export.Dim("N")}
    if isinstance(tower, TextTower) and padding(tower.model) == "longest":
        grows[1] = torch.export.Dim("L", max=tower.model.context_length)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about itself
        program: Any = torch.onnx.export(
            tower,
            (torch.from_numpy(inputs[:2]),),
            input_names=[name],
            output_names=["rows"],
            dynamic_shapes=(grows,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    values = (value for node in program.model.graph for value in node.outputs)
    for taken in [value for value in values if value.name == "embedding"]:  # what torch calls a lookup
        taken.name = "lookup"
    program.model.graph.outputs[0].name = "embedding"
    proto: onnx.ModelProto = program.model_proto
    return proto


def _worst_cosine(model: onnx.ModelProto, inputs: NDArray[Any], wanted: Rows) -> float:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    parts = [session.run(None, {feed: inputs[i : i + 16]})[0] for i in range(0, len(inputs), 16)]
    return float((np.concatenate(parts) * wanted).sum(axis=1).min())


def _null(rows: dict[str, Rows]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and deviation of the cosine between captions and pictures that have nothing to do with each other.

    Rough where pictures come in: the made-up ones are more alike than photos are.
    """
    return {
        query: {other: _spread(rows[query] @ rows[other].T, is_same=query == other) for other in rows} for query in rows
    }


def _spread(cosines: NDArray[np.float32], *, is_same: bool) -> tuple[float, float]:
    pairs = cosines[~np.eye(len(cosines), dtype=bool)] if is_same else cosines.ravel()
    return float(pairs.mean()), float(pairs.std())
