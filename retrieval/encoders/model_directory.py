"""A model as a folder: image.onnx, text.onnx, tokenizer.json, and model.json, which says how to use them.

image.onnx: `pixels` uint8 (N, S, S, 3) RGB → `embedding` float32 (N, D), unit rows; normalises by itself.
text.onnx:  `tokens` int64 (N, L), padded with pad_id → `embedding` float32 (N, D), unit rows.

A model that was adapted to its user's captions also has adapter.npz; see mmsearch.retrieval.encoders.adapter.
bank.npy:   float16 (B, D), optional: unit rows of captions of all kinds; see mmsearch.retrieval.hubs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from mmsearch.index.errors import ModelInvalid
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.types import Preprocess

FORMAT = 1
MANIFEST = "model.json"
CHECKPOINT = "open_clip"
ADAPTER = "adapter.npz"
BANK = "bank.npy"
PARTS = ("image.onnx", "text.onnx", "tokenizer.json")

Pad = Literal["longest", "context"]
Clean = Literal["ftfy", "ftfy-lower", "canonicalize"]


@dataclass(frozen=True, slots=True)
class TextInput:
    """How texts become the tokens that a text tower expects.

    pad:   to the `longest` text of the batch, or always to the whole `context`.
    clean: what is done to a text before the tokenizer sees it; see mmsearch.retrieval.encoders.cleaning.
    """

    pad_id: int = 0
    pad: Pad = "longest"
    clean: Clean | None = None


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """A model on disk. source: what it was made from, as `mmsearch models add` was told."""

    path: Path
    card: ModelCard
    text: TextInput
    source: str | None = None

    @property
    def checkpoint(self) -> Path | None:
        """The folder with the open_clip configuration and weights for a GPU, where the model has them."""
        folder = self.path / CHECKPOINT
        return folder if folder.is_dir() else None

    @property
    def adapter(self) -> Path | None:
        """The file with the maps that follow the towers, where the model has one."""
        file = self.path / ADAPTER
        return file if file.is_file() else None

    @property
    def bank(self) -> Path | None:
        """The file with the vectors of captions that hubness is measured by, where the model has one."""
        file = self.path / BANK
        return file if file.is_file() else None


def fingerprint(path: Path) -> str:
    """The SHA-256, in hex, of the bytes of image.onnx, text.onnx, tokenizer.json and, where there is one,
    adapter.npz, one after the other."""
    import hashlib  # by those who make a model; a query reads what they noted

    digest = hashlib.sha256()
    for name in (*PARTS, ADAPTER) if (path / ADAPTER).is_file() else PARTS:
        with (path / name).open("rb") as part:
            while block := part.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write(model: ModelDirectory) -> ModelDirectory:
    """Write model.json beside the other three files, and give the model with its fingerprint filled in."""
    card = replace(model.card, fingerprint=fingerprint(model.path))
    model = replace(model, card=card)
    text = json.dumps(_document(model), indent=1, ensure_ascii=False)
    (model.path / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return model


def read(path: Path, *, verify: bool = False) -> ModelDirectory:
    """Read model.json, and with verify also hash the other files.

    Raises ModelInvalid where a file is missing, model.json is not what write makes, or the fingerprint
    does not match.
    """
    for name in (MANIFEST, *PARTS):
        if not (path / name).is_file():
            raise ModelInvalid(model=str(path), reason=f"it has no {name}")
    try:
        model = _parse(path, json.loads((path / MANIFEST).read_text(encoding="utf-8")))
    except KeyError as error:
        raise ModelInvalid(model=str(path), reason=f"{MANIFEST} lacks {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelInvalid(model=str(path), reason=f"{MANIFEST} cannot be read: {error}") from error
    if verify and fingerprint(path) != model.card.fingerprint:
        raise ModelInvalid(model=str(path), reason="its files do not match the fingerprint in model.json")
    return model


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder beside target that becomes target when all went well, and vanishes when not."""
    import shutil
    import tempfile

    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".adding-", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o755)  # a temporary folder is its maker's alone
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _document(model: ModelDirectory) -> dict[str, Any]:
    card = model.card
    document = {
        "format": FORMAT,
        "name": card.name,
        "version": card.version,
        "dim": card.dim,
        "description": card.description,
        "licence": card.licence,
        "image": asdict(card.preprocess),
        "text": {"context_length": card.context_length} | asdict(model.text),
        "null": card.null,
        "calibration": card.calibration,
        "metrics": card.metrics,
        "fingerprint": card.fingerprint,
    }
    return document | ({"source": model.source} if model.source else {})


def _parse(path: Path, document: Mapping[str, Any]) -> ModelDirectory:
    if (found := document["format"]) != FORMAT:
        raise ValueError(f"its format is {found!r}, and this mmsearch knows format {FORMAT}")
    text = document["text"]
    card = ModelCard(
        name=str(document["name"]),
        version=str(document["version"]),
        dim=int(document["dim"]),
        fingerprint=str(document["fingerprint"]),
        preprocess=_preprocess(document["image"]),
        context_length=int(text["context_length"]),
        description=str(document.get("description", "")),
        licence=str(document.get("licence", "")),
        null=_pairs(document.get("null", {})),
        calibration=_pairs(document.get("calibration", {})),
        metrics=document.get("metrics", {}),
    )
    clean = None if text.get("clean") is None else _one_of(Clean, text["clean"])
    text_input = TextInput(int(text["pad_id"]), _one_of(Pad, text["pad"]), clean)
    return ModelDirectory(path, card, text_input, document.get("source"))


def _preprocess(image: Mapping[str, Any]) -> Preprocess:
    return Preprocess(
        size=int(image["size"]),
        resize=_one_of(Literal["squash", "shortest"], image["resize"]),
        interpolation=_one_of(Literal["bicubic", "bilinear"], image["interpolation"]),
        mean=_triple(image["mean"]),
        std=_triple(image["std"]),
    )


def _one_of(choices: Any, value: object) -> Any:
    if value not in get_args(choices):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(choices))}")
    return value


def _triple(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _pairs(table: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, tuple[float, float]]]:
    """{query modality: {row modality: (a, b)}}, as ModelCard holds null and calibration."""
    return {query: {row: (float(a), float(b)) for row, (a, b) in rows.items()} for query, rows in table.items()}
