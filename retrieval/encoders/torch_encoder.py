"""The towers in torch, as open_clip builds them: on a GPU many times as fast as ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.index.errors import DeviceUnavailable, ModelInvalid
from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.adapter import adapted
from mmsearch.retrieval.encoders.batches import embed_images, embed_texts
from mmsearch.retrieval.encoders.model_directory import ModelDirectory
from mmsearch.retrieval.encoders.tokens import Tokens

BATCH = 256


class TorchEncoder:
    """The Encoder of a model directory with open_clip weights beside it.

    On a GPU it computes in bfloat16 and its rows agree with the ONNX ones to a cosine of about 0.999, on the CPU
    in float32. The batch is halved whenever memory runs out, and stays so.
    """

    def __init__(self, directory: Path, device: str) -> None:
        from mmsearch.retrieval.encoders.towers import ImageTower, TextTower

        model = model_directory.read(directory)
        clip = _load(model, device)
        self.card = model.card
        self._tokens = Tokens(model)
        image = Halving(_on(ImageTower(clip, model.card.preprocess), device), BATCH, device)
        text = Halving(_on(TextTower(clip), device), BATCH, device)
        self._text, self._image = adapted(model, text, image)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D) rows of N texts. A text longer than the tower's context is the mean of its passages."""
        return embed_texts(texts, self._tokens, self.card.dim, self._text, BATCH)

    def images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, D) rows of N pictures (N, S, S, 3), RGB, prepared as card.preprocess says."""
        return embed_images(pixels, self.card, self._image, BATCH)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans, in order, that cover text and each fit the tower's context; [] for blank text."""
        return self._tokens.spans(text)

    def close(self) -> None:
        """Give back the device memory; the encoder cannot be used any more."""
        del self._image, self._text
        torch.cuda.empty_cache()


class Halving:
    """A tower over arrays, on as many rows at once as the device's memory allows.

    size: how many rows that is, as far as is known.
    """

    def __init__(self, tower: Callable[[NDArray[np.generic]], NDArray[np.float32]], size: int, device: str) -> None:
        self._tower = tower
        self._device = device
        self.size = size

    def __call__(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """The rows (B, D) of batch (B, ...); DeviceUnavailable where not even one row fits."""
        rows: list[NDArray[np.float32]] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + self.size]
            try:
                rows.append(self._tower(part))
                start += len(part)
            except torch.OutOfMemoryError as error:
                self._halve(len(part), error)
        return np.concatenate(rows)

    def _halve(self, tried: int, error: torch.OutOfMemoryError) -> None:
        if tried == 1:
            raise DeviceUnavailable(
                device=self._device, reason="its memory does not hold the model and one input"
            ) from error
        self.size = tried // 2
        torch.cuda.empty_cache()


def _load(model: ModelDirectory, device: str) -> torch.nn.Module:
    """The open_clip model, whose weights lie in the model directory, on the device."""
    import open_clip

    if model.checkpoint is None:
        raise ModelInvalid(model=str(model.path), reason="it has no torch weights, only ONNX")
    precision = "pure_bf16" if device.startswith("cuda") else "fp32"
    clip: torch.nn.Module = open_clip.create_model(
        f"local-dir:{model.checkpoint}", precision=precision, device=device, require_pretrained=True
    )
    return clip.eval().to(memory_format=torch.channels_last)


def _on(tower: torch.nn.Module, device: str) -> Callable[[NDArray[np.generic]], NDArray[np.float32]]:
    tower = tower.to(device)

    def run(batch: NDArray[np.generic]) -> NDArray[np.float32]:
        inputs = torch.from_numpy(np.ascontiguousarray(batch))
        if device.startswith("cuda"):  # only pinned memory is copied without making the CPU wait
            inputs = inputs.pin_memory().to(device, non_blocking=True)
        with torch.inference_mode():
            return np.asarray(tower(inputs).cpu().numpy(), np.float32)

    return run
