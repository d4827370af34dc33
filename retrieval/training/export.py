"""From trained towers to a model directory: two ONNX files, a tokenizer and model.json."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsearch.retrieval.training.image_tower import MEAN, STD, ImageTower, normalised
from mmsearch.retrieval.training.text_tower import TextTower

OPSET = 18  # quantise.py needs reductions whose axes are inputs


class ImageGraph(nn.Module):
    """uint8 pixels (N, S, S, 3) -> unit rows (N, D), the normalisation inside.

    mirror: the row is the mean of the photo's and of its mirror image's, at twice the time.
    """

    def __init__(self, tower: ImageTower, *, mirror: bool = False) -> None:
        super().__init__()
        self.tower, self.mirror = tower, mirror

    def forward(self, pixels: Tensor) -> Tensor:
        shown = normalised(pixels)
        row = self._row(shown)
        return functional.normalize(row + self._row(shown.flip(3)), dim=-1) if self.mirror else row

    def _row(self, shown: Tensor) -> Tensor:
        return functional.normalize(self.tower.embed(self.tower.pooled(shown)), dim=-1)


def export_image(tower: ImageTower, path: Path, side: int, *, mirror: bool = False) -> None:
    """Write image.onnx (float32). The batch normalisations fold into the convolutions before them."""
    graph = ImageGraph(tower, mirror=mirror).eval()
    pixels = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    _export(graph, pixels, path, "pixels", {0: "n"})


def export_text(tower: TextTower, path: Path) -> None:
    """Write text.onnx (float32)."""
    tokens = torch.ones((2, 9), dtype=torch.int64)
    _export(tower.eval(), tokens, path, "tokens", {0: "n", 1: "length"})


def _export(graph: nn.Module, example: Tensor, path: Path, name: str, axes: dict[int, str]) -> None:
    torch.onnx.export(
        graph, (example,), str(path), input_names=[name], output_names=["embedding"],
        dynamic_axes={name: axes, "embedding": {0: "n"}}, opset_version=OPSET, dynamo=False,
    )  # fmt: skip


def quantise_weights(source: Path, target: Path) -> None:
    """8-bit weights and embedding tables, a scale a token: a row's vector does not depend on the rows beside it."""
    import onnx

    from mmsearch.retrieval.encoders.quantise import quantised

    onnx.save(quantised(onnx.load(source)), target)


def halve_weights(path: Path, least: int = 256) -> None:
    """Store the file's larger float32 weights as float16; a Cast at load brings them back, so speed is unchanged.

    (8-bit activations in the image tower were tried: 1.5 times as fast, but the cosine to float32 fell to .91.)
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    kept, casts = [], []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or int(np.prod(weight.dims)) < least:
            kept.append(weight)
            continue
        values = numpy_helper.to_array(weight).astype(np.float16)
        kept.append(numpy_helper.from_array(values, f"{weight.name}_half"))
        casts.append(helper.make_node("Cast", [f"{weight.name}_half"], [weight.name], to=TensorProto.FLOAT))
    nodes = casts + list(graph.node)
    del graph.initializer[:]
    del graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    onnx.save(model, path)


def keep_faithful(plain: Path, quantised: Path, feed: dict[str, np.ndarray], least: float) -> bool:
    """Keep the quantised file where its mean cosine to the plain one is at least `least`, else put the plain one there.

    The plain file is gone afterwards. Returns whether the quantised one was kept.
    """
    rows = [session(path).run(None, feed)[0] for path in (plain, quantised)]
    kept = float((rows[0] * rows[1]).sum(axis=1).mean()) >= least
    if kept:
        plain.unlink()
    else:
        plain.replace(quantised)
    return kept


def session(path: Path, threads: int = 1) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def worst_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The smallest cosine between two sets of unit rows, row by row."""
    return float((one * other).sum(axis=1).min())


def fingerprint(folder: Path) -> str:
    """sha256 over the bytes of image.onnx, text.onnx and tokenizer.json, in this order."""
    digest = hashlib.sha256()
    for name in ("image.onnx", "text.onnx", "tokenizer.json"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def write_model_json(
    folder: Path, *, name: str, version: str, dim: int, side: int, context: int, description: str, licence: str,
    calibration: dict[str, Any], null: dict[str, Any], metrics: dict[str, Any],
) -> None:  # fmt: skip
    """Write model.json beside the three files it describes."""
    facts = {
        "format": 1,
        "name": name,
        "version": version,
        "dim": dim,
        "description": description,
        "licence": licence,
        "image": {"size": side, "resize": "squash", "interpolation": "bicubic", "mean": MEAN, "std": STD},
        "text": {"context_length": context, "pad_id": 0, "pad": "longest", "lower": True},
        "calibration": calibration,
        "null": null,
        "metrics": metrics,
        "fingerprint": fingerprint(folder),
    }
    (folder / "model.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
