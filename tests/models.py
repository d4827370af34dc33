"""A tiny model for tests: a real model directory that knows seven colours, made in milliseconds."""

from __future__ import annotations

import itertools
import string
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.encoders.model_directory import ModelDirectory, TextInput
from mmsearch.retrieval.types import Preprocess

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
}
SIZE = 32
CONTEXT_LENGTH = 32
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"

Array = NDArray[np.float32]


def make_tiny_model(directory: Path, *, dim: int = 32, name: str = "tiny", seed: int = 0) -> Path:
    """Write a model of dim >= 8 dimensions into directory and give the directory.

    A picture is embedded as the colours of its pixels plus a little of where they are, a text as the colours
    it names plus a little of its other words, so the text "red" has a red picture as its nearest.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0].astype(np.float32)[: len(COLOURS)]
    pieces = _pieces()
    table = 0.1 * rng.normal(size=(len(pieces), dim)).astype(np.float32) / np.sqrt(np.float32(dim))
    table[0] = 0  # padding adds nothing to the sum
    table[[pieces.index(colour) for colour in COLOURS]] = axes
    layout = 0.01 * rng.normal(size=(48, dim)).astype(np.float32)
    onnx.save(_image_tower(axes, layout), directory / "image.onnx")
    onnx.save(_text_tower(table), directory / "text.onnx")
    _tokenizer(pieces).save(str(directory / "tokenizer.json"))
    model_directory.write(ModelDirectory(directory, _card(name, dim), TextInput(pad_id=0)))
    return directory


def _card(name: str, dim: int) -> ModelCard:
    spread = (0.0, 0.2)
    return ModelCard(
        name=name,
        dim=dim,
        fingerprint="",
        preprocess=Preprocess(size=SIZE, resize="squash"),
        context_length=CONTEXT_LENGTH,
        description="Knows seven colours",
        licence="Apache-2.0",
        null={"text": {"image": spread, "text": spread}, "image": {"image": spread, "text": spread}},
    )


def _pieces() -> list[str]:
    """The vocabulary: colours are whole words, all other words are cut into pairs of letters."""
    letters = string.ascii_lowercase + string.digits
    pairs = ["".join(pair) for pair in itertools.product(letters, repeat=2)]
    starts = [*letters, *pairs, *string.punctuation]
    return [PAD, UNKNOWN, START, END, *COLOURS, *starts, *(f"##{piece}" for piece in [*letters, *pairs])]


def _tokenizer(pieces: list[str]) -> Tokenizer:
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=10_000))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 2), (END, 3)]
    )
    return tokenizer


def _image_tower(axes: Array, layout: Array) -> onnx.ModelProto:
    """Softmax of each pixel over the colours, averaged, plus a projected 4 x 4 grid of mean colours."""
    colours = np.array(list(COLOURS.values()), np.float32) / 255  # (C, 3)
    sharpness = np.float32(20)
    weights = {
        "scale": np.float32(255),
        "towards": 2 * sharpness * colours.T,
        "away": -sharpness * (colours**2).sum(axis=1),
        "axes": axes,
        "half": np.float32(0.5),
        "layout": layout,
        "plane": np.array([1, 2], np.int64),
        "flat": np.array([0, 48], np.int64),
    }
    cell = SIZE // 4
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "scale"], ["rgb"]),  # (N, S, S, 3)
        helper.make_node("MatMul", ["rgb", "towards"], ["dots"]),
        helper.make_node("Add", ["dots", "away"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=-1),  # (N, S, S, C)
        helper.make_node("ReduceMean", ["shares", "plane"], ["share"], keepdims=0),
        helper.make_node("MatMul", ["share", "axes"], ["what"]),
        helper.make_node("Transpose", ["rgb"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[cell] * 2, strides=[cell] * 2),
        helper.make_node("Reshape", ["cells", "flat"], ["row"]),
        helper.make_node("Sub", ["row", "half"], ["centred"]),
        helper.make_node("MatMul", ["centred", "layout"], ["where"]),
        helper.make_node("Add", ["what", "where"], ["sum"]),
    ]
    return _model(nodes, weights, ("pixels", TensorProto.UINT8, ["N", SIZE, SIZE, 3]), axes.shape[1])


def _text_tower(table: Array) -> onnx.ModelProto:
    weights: dict[str, NDArray[Any]] = {"table": table, "words": np.array([1], np.int64)}
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["vectors"]),  # (N, L, D)
        helper.make_node("ReduceSum", ["vectors", "words"], ["sum"], keepdims=0),
    ]
    return _model(nodes, weights, ("tokens", TensorProto.INT64, ["N", "L"]), table.shape[1])


def _model(
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[Any]],
    source: tuple[str, int, list[str | int]],
    dim: int,
) -> onnx.ModelProto:
    """A graph from source to `sum` (N, D), followed by the scaling to unit length."""
    unit = helper.make_node("LpNormalization", ["sum"], ["embedding"], axis=-1, p=2)
    graph = helper.make_graph(
        [*nodes, unit],
        "tower",
        [helper.make_tensor_value_info(*source)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", dim])],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
