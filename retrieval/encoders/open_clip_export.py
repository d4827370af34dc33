"""`mmsearch models add`: an open_clip model becomes a model directory.

Its towers, tokenizer and preprocessing are exported and then compared with open_clip's own, end to end. Nothing
appears in the models directory unless all of it agrees.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.index.errors import MissingExtra, ModelInvalid, UsageError
from mmsearch.retrieval.encoders import model_directory, registry
from mmsearch.retrieval.encoders.base import ModelCard

if TYPE_CHECKING:
    from mmsearch.retrieval.encoders.exporting import Original

HUB, LOCAL = "hf-hub:", "local-dir:"


@dataclass(frozen=True, slots=True)
class Source:
    """What open_clip calls a model: an architecture with weights (a tag or a file), or a name with a schema."""

    model: str
    weights: str | None = None


def add(
    spec: str,
    *,
    name: str | None = None,
    directory: Path | None = None,
    photos: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> ModelCard:
    """Add the model that spec names to the models directory, and give its card.

    spec:     ARCH/TAG, hf-hub:ORG/NAME, ARCH:CHECKPOINT, a folder with open_clip_config.json, or a ready model
              directory, which is copied.
    name:     what it will be called; by default a name made from spec.
    photos:   a folder of photos to try the model on; by default pictures are made up.
    progress: is told each step in a few words.

    Raises MissingExtra without open_clip, ModelInvalid where the model cannot be had or exported, UsageError
    where the name is taken or spec makes no sense.
    """
    chosen = registry.check_name(name or _name_of(spec))
    target = (directory or registry.models_directory()) / chosen
    if target.exists():
        raise UsageError(f"there is already a model {chosen}; remove it, or choose another --name")
    with model_directory.staged(target) as folder:
        if (Path(spec) / model_directory.MANIFEST).is_file():
            progress("copying")
            _copy(Path(spec), chosen, folder)
        else:
            _export(spec, chosen, folder, photos, progress)
    return model_directory.read(target).card


def parse(spec: str) -> Source:
    """What open_clip has to load for a spec that is not a ready model directory.

    >>> parse("ViT-B-32/laion2b_s34b_b79k")
    Source(model='ViT-B-32', weights='laion2b_s34b_b79k')
    """
    if spec.startswith(HUB):
        return Source(spec)
    if (Path(spec) / "open_clip_config.json").is_file():
        return Source(f"{LOCAL}{spec}")
    architecture, colon, path = spec.partition(":")
    if colon:
        if not Path(path).is_file():
            raise UsageError(f"there is no checkpoint {path}; name it as ARCH:PATH")
        return Source(architecture, path)
    architecture, slash, tag = spec.rpartition("/")
    if not slash or Path(spec).exists():
        raise UsageError(
            f"{spec!r} names no model; give ARCH/TAG, hf-hub:ORG/NAME, ARCH:CHECKPOINT, or a model directory"
        )
    return Source(architecture, tag)


def _name_of(spec: str) -> str:
    """A name that says where the model is from: the last part of a path or hub name, else all of spec."""
    last = Path(spec).name if spec.startswith(HUB) or Path(spec).is_dir() else spec
    architecture, colon, path = last.partition(":")
    whole = f"{architecture}-{Path(path).stem}" if colon else last
    return re.sub(r"[^A-Za-z0-9._-]+", "-", whole).strip("-.")


def _copy(source: Path, name: str, folder: Path) -> None:
    model = model_directory.read(source, verify=True)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    model_directory.write(replace(model, path=folder, card=replace(model.card, name=name)))


def _export(spec: str, name: str, folder: Path, photos: Path | None, progress: Callable[[str], None]) -> None:
    source = parse(spec)
    if not all(map(find_spec, ("open_clip", "torch", "onnx", "onnxscript"))):
        raise MissingExtra(extra="open-clip", purpose="adding a model from open_clip")
    from mmsearch.retrieval.encoders import exporting

    progress("loading")
    original = load(source, spec)
    exporting.export(original, name, folder, photos, progress)


def load(source: Source, spec: str) -> Original:
    """The model, its preprocessing and its tokenizer, as open_clip has them, downloaded where need be."""
    import open_clip

    from mmsearch.retrieval.encoders.exporting import Original

    try:
        with warnings.catch_warnings():
            # The activation that the weights were trained with is another than the architecture's.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            if source.model.startswith(HUB):
                _download(source.model.removeprefix(HUB))
            model, preprocess = open_clip.create_model_from_pretrained(source.model, source.weights)
            tokenizer = open_clip.get_tokenizer(source.model)
            config: dict[str, Any] = open_clip.get_model_config(source.model)
    except ImportError as error:
        raise MissingExtra(extra="open-clip", purpose=f"the model {spec} ({error.name})") from error
    except Exception as error:  # open_clip, the hub and torch raise whatever they please
        told = " ".join(str(error).split())  # the hub's messages run over several lines
        raise ModelInvalid(model=spec, reason=f"open_clip cannot load it: {told}") from error
    return Original(spec, model.eval(), preprocess, tokenizer, config)


def _download(repository: str) -> None:
    """Bring the weights of a hub model into the hub's cache.

    open_clip takes them from there; left to itself it would only log why they cannot be had.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        hf_hub_download(repository, "open_clip_model.safetensors")
    except EntryNotFoundError:
        hf_hub_download(repository, "open_clip_pytorch_model.bin")
