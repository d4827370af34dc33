"""The towers in torch, as open_clip builds them: on a GPU many times as fast as ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.index.device_store import free_bytes
from mmsearch.index.errors import DeviceUnavailable, ModelInvalid
from mmsearch.index.gpu_faults import empty_cache, faults_named, fitting
from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.adapter import adapted
from mmsearch.retrieval.encoders.batches import embed_images, embed_texts
from mmsearch.retrieval.encoders.model_directory import ModelDirectory
from mmsearch.retrieval.encoders.tokens import Tokens
from mmsearch.retrieval.encoders.torch_towers import FIRST_BATCH, Halving, Tower

Precision = Literal["pure_bf16", "fp32"]

# Texts of nearly one length share a batch; so many tokens suit the GPU's matrix units.
_TOKEN_STEP = 8


class TorchEncoder:
    """The Encoder of a model directory with open_clip weights beside it. Safe to use from several threads.

    On a GPU it computes in bfloat16 and its rows agree with the ONNX ones to a cosine of about 0.999, on the CPU
    in float32, unless precision says otherwise. The batch is halved whenever memory runs out, and stays so, in
    later processes as well.
    """

    def __init__(self, directory: Path, device: str, precision: Precision | None = None) -> None:
        from mmsearch.retrieval.encoders.towers import ImageTower, TextTower

        model = model_directory.read(directory)
        clip = _load(model, device, precision or ("pure_bf16" if device.startswith("cuda") else "fp32"))
        self.card = model.card
        self._tokens = Tokens(model, _TOKEN_STEP)
        self._towers: tuple[Tower, ...] = (
            Tower(TextTower(clip), device),
            Tower(ImageTower(clip, model.card.preprocess), device, FIRST_BATCH),
        )
        text, image = (
            Halving(tower, FIRST_BATCH, device, (device, model.card.fingerprint, name), free_bytes(device))
            for tower, name in zip(self._towers, ("text", "image"), strict=True)
        )
        self._text, self._image = adapted(model, text, image)

    @property
    def busy_s(self) -> float:
        """How long the device has computed for this encoder, in seconds."""
        return sum(tower.busy_s for tower in self._towers)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D) rows of N texts. A text longer than the tower's context is the mean of its passages."""
        return embed_texts(texts, self._tokens, self.card.dim, self._text, FIRST_BATCH)

    def images(self, pixels: NDArray[np.uint8] | Tensor) -> NDArray[np.float32]:
        """(N, D) rows of N pictures (N, S, S, 3), RGB, prepared as card.preprocess says; they may lie on a GPU."""
        return embed_images(pixels, self.card, self._image, FIRST_BATCH)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans, in order, that cover text and each fit the tower's context; [] for blank text."""
        return self._tokens.spans(text)

    def close(self) -> None:
        """Give back the device memory; the encoder cannot be used any more. Closing twice is allowed."""
        self._towers = ()
        self._text = self._image = _closed
        empty_cache()


def _closed(batch: object) -> NDArray[np.float32]:
    raise RuntimeError("this encoder was closed")


def _load(model: ModelDirectory, device: str, precision: Precision) -> torch.nn.Module:
    """The open_clip model, whose weights lie in the model directory, on the device; DeviceUnavailable for no room."""
    import open_clip

    if model.checkpoint is None:
        raise ModelInvalid(model=str(model.path), reason="it has no torch weights, only ONNX")
    spec = f"local-dir:{model.checkpoint}"
    with faults_named(device):
        clip: torch.nn.Module | None = fitting(
            lambda: open_clip.create_model(spec, precision=precision, device=device, require_pretrained=True),
            lambda: None,
        )
    if clip is None:
        raise DeviceUnavailable(device=device, reason="its memory does not hold the model")
    return clip.eval().to(memory_format=torch.channels_last)
