"""Which device computes, and whether what is installed works."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mmsearch.index.errors import DeviceUnavailable, UsageError

# How a device is named: what `choose` takes.
DEVICE = r"auto|cpu|cuda|cuda:\d+(,cuda:\d+)*"

State = Literal["ok", "missing", "broken"]

# One of these is there wherever an NVIDIA driver is loaded; /dev/dxg is the one of Windows' Linux.
_DRIVER_FILES = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
_NEEDED = ("numpy", "faiss-cpu", "onnxruntime", "tokenizers", "pillow", "pillow-heif", "sqlalchemy")
_OPTIONAL = {"torch": "gpu", "open_clip_torch": "open-clip", "onnx": "open-clip"}


class Finding(NamedTuple):
    """One line of `mmsearch doctor`."""

    what: str
    state: State
    detail: str


def choose(device: str) -> str:
    """Where to compute for auto, cpu, cuda, cuda:N or several of the last: `cpu`, `cuda:N` or `cuda:0,cuda:1`.

    cuda is every GPU that torch can use; auto is that where there is one, else the CPU.

    DeviceUnavailable where a wanted GPU is not there, UsageError for anything else.
    """
    if device == "cpu":
        return device
    if not re.fullmatch(DEVICE, device):
        raise UsageError(f"there is no device {device!r}; there are auto, cpu, cuda, cuda:N and cuda:N,cuda:M")
    if device in ("auto", "cuda"):
        if not (fault := _fault(0)):
            return ",".join(f"cuda:{index}" for index in range(_count()))
        if device == "auto":
            return "cpu"
        raise DeviceUnavailable(device=device, reason=fault)
    for each in device.split(","):
        if fault := _fault(int(each.removeprefix("cuda:"))):
            raise DeviceUnavailable(device=each, reason=fault)
    return ",".join(dict.fromkeys(device.split(",")))


def diagnose() -> list[Finding]:
    """What is installed, and what came of running a real kernel on each device."""
    needed = [_installed(name, "a needed package") for name in _NEEDED]
    optional = [_installed(name, f"optional: pip install 'mmsearch[{_OPTIONAL[name]}]'") for name in _OPTIONAL]
    return [*needed, *optional, _tried("faiss", _search), _tried("cpu", _embed), _gpu()]


def _fault(index: int) -> str | None:
    """Why there is no GPU of that index, None where there is. torch is not imported to find no driver."""
    if find_spec("torch") is None:
        return "torch is not installed; pip install 'mmsearch[gpu]'"
    if not (any(file.exists() for file in _DRIVER_FILES) or shutil.which("nvidia-smi")):
        return "no NVIDIA driver is loaded"
    import torch

    if not torch.cuda.is_available():
        return "torch finds no GPU that it can use"
    if index >= _count():
        return f"the GPUs here are numbered 0 to {_count() - 1}"
    return None


def _count() -> int:
    import torch

    return int(torch.cuda.device_count())


def _installed(name: str, otherwise: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "missing", otherwise)


def _tried(what: str, kernel: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", kernel())
    except Exception as error:  # whatever a broken installation raises is what the person wants to know
        return Finding(what, "broken", f"{type(error).__name__}: {error}")


def _search() -> str:
    import faiss

    index = faiss.IndexFlatIP(8)
    index.add(np.eye(8, dtype=np.float32))
    _, ids = index.search(np.eye(8, dtype=np.float32), 1)
    if ids[:, 0].tolist() != list(range(8)):
        raise RuntimeError(f"found {ids[:, 0].tolist()} where 0 to 7 was right")
    return "found 8 of 8 vectors"


def _embed() -> str:
    from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder
    from mmsearch.retrieval.encoders.registry import BUNDLED, find

    encoder = OnnxEncoder(find(BUNDLED))
    side = encoder.card.preprocess.size
    rows = np.concatenate([encoder.texts(["a dog"]), encoder.images(np.zeros((1, side, side, 3), np.uint8))])
    if not np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3):
        raise RuntimeError("the rows of the bundled model are not of unit length")
    return f"embedded a text and a picture with the model {BUNDLED}, {encoder.card.dim} dimensions"


def _gpu() -> Finding:
    fault = _fault(0)
    return Finding("cuda", "missing", fault) if fault else _tried("cuda", _multiply)


def _multiply() -> str:
    import torch

    ones = torch.ones(64, 64, device="cuda", dtype=torch.bfloat16)
    if not bool(((ones @ ones) == 64).all()):
        raise RuntimeError("a matrix product of ones is wrong")
    return f"multiplied matrices on {torch.cuda.get_device_name(0)}"
