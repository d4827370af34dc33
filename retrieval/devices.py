"""Which device computes, and whether what is installed works."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mmsearch.index.errors import DeviceUnavailable, UsageError
from mmsearch.index.gpu_faults import first_line

# How a device is named: what `choose` takes.
DEVICE = r"auto|cpu|cuda|cuda:\d+(,cuda:\d+)*"

State = Literal["ok", "missing", "broken"]

# One of these is there wherever an NVIDIA driver is loaded; /dev/dxg is the one of Windows' Linux.
_DRIVER_FILES = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
_NEEDED = ("numpy", "faiss-cpu", "onnxruntime", "tokenizers", "pillow", "pillow-heif", "sqlalchemy")
_OPTIONAL = {"torch": "gpu", "faiss-gpu-cuvs": "faiss-gpu", "open_clip_torch": "open-clip", "onnx": "open-clip"}


class Finding(NamedTuple):
    """One line of `mmsearch doctor`."""

    what: str
    state: State
    detail: str


def choose(device: str) -> str:
    """Where to compute for auto, cpu, cuda, cuda:N or several of the last: `cpu`, `cuda:N` or `cuda:0,cuda:1`.

    cuda is every GPU on which torch can run a kernel; auto is that where there is one, else the CPU.

    DeviceUnavailable where a wanted GPU is not there, UsageError for anything else.
    """
    if device == "cpu":
        return device
    if not re.fullmatch(DEVICE, device):
        raise UsageError(f"there is no device {device!r}; there are auto, cpu, cuda, cuda:N and cuda:N,cuda:M")
    if device in ("auto", "cuda"):
        if usable := [index for index in range(_count()) if not _fault(index)]:
            return _named(usable)
        if device == "auto":
            return "cpu"
        raise DeviceUnavailable(device=device, reason=str(_fault(0)))
    numbers = [int(each.removeprefix("cuda:")) for each in device.split(",")]
    for number in numbers:
        if fault := _fault(number):
            raise DeviceUnavailable(device=_named([number]), reason=fault)
    return _named(numbers)


def diagnose() -> list[Finding]:
    """What is installed, what came of running a real kernel on each device, and what would be used."""
    needed = [_installed(name, "a needed package") for name in _NEEDED]
    optional = [_installed(name, f"optional: pip install 'mmsearch[{_OPTIONAL[name]}]'") for name in _OPTIONAL]
    return [*needed, *optional, _tried("faiss", _search), _tried("cpu", _embed), *_gpus()]


def _named(numbers: list[int]) -> str:
    return ",".join(f"cuda:{number}" for number in dict.fromkeys(numbers))


def _fault(index: int) -> str | None:
    """Why the GPU of that index cannot be used, None where it can."""
    if fault := _absence():
        return fault
    if index >= _count():
        return f"the GPUs here are numbered 0 to {_count() - 1}"
    try:
        _works(index)
    except RuntimeError as error:
        return first_line(error)
    return None


def _absence() -> str | None:
    """Why there is no GPU at all, None where there is. torch is not imported to find no driver."""
    if find_spec("torch") is None:
        return "torch is not installed; pip install 'mmsearch[gpu]'"
    if not (any(file.exists() for file in _DRIVER_FILES) or shutil.which("nvidia-smi")):
        return "no NVIDIA driver is loaded"
    import torch

    with warnings.catch_warnings(record=True) as said:  # a driver that is too old, say
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA"
    return f"torch finds no GPU that it can use{''.join(f' ({first_line(each.message)})' for each in said[-1:])}"


@cache
def _works(index: int) -> bool:
    """True, found out once; what torch raises where its kernels do not run on that GPU, found out anew each time."""
    _multiply(index)
    return True


def _count() -> int:
    """How many GPUs there are, usable or not."""
    if _absence():
        return 0
    import torch

    return int(torch.cuda.device_count())


def _installed(name: str, otherwise: str) -> Finding:
    from importlib import metadata  # a module that a query does not need

    try:
        return Finding(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
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


def _gpus() -> list[Finding]:
    """The driver, each GPU and its FAISS, and where `auto` computes."""
    if fault := _absence():
        return [Finding("cuda", "missing", fault), Finding("auto", "ok", f"everything runs on the CPU: {fault}")]
    each = [finding for index in range(_count()) for finding in (_card(index), _card_search(index))]
    return [Finding("driver", "ok", _driver()), *each, Finding("auto", "ok", _used())]


def _driver() -> str:
    """The version of the NVIDIA driver, by what it says of itself."""
    file = _DRIVER_FILES[0] if _DRIVER_FILES else None
    text = file.read_text(errors="replace") if file and file.is_file() else ""
    return found[0] if (found := re.search(r"\d+\.\d+(\.\d+)*", text)) else "of a version that it does not say"


def _card(index: int) -> Finding:
    return _tried(f"cuda:{index}", lambda: _multiply(index))


def _multiply(index: int) -> str:
    import torch

    device = f"cuda:{index}"
    ones = torch.ones(64, 64, device=device, dtype=torch.bfloat16)
    if not bool(((ones @ ones) == 64).all()):
        raise RuntimeError("a matrix product of ones is wrong")
    card = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    return (
        f"multiplied matrices on {card.name}, compute capability {card.major}.{card.minor}, "
        f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    )


def _card_search(index: int) -> Finding:
    """Whether FAISS searches on a GPU; a FAISS that was built without that is missing, one that fails there broken."""
    from mmsearch.index import faiss_gpu

    what = f"faiss on cuda:{index}"
    try:
        import faiss

        forms = faiss_gpu.forms(faiss)
    except Exception as error:  # as of a package: whatever it raises is what the person wants to know
        return Finding(what, "broken", f"{type(error).__name__}: {error}")
    if fault := faiss_gpu.fault(index):
        return Finding(what, "broken" if forms else "missing", f"{fault}; torch searches there instead")
    found = f"{_faiss_name(faiss.__version__)} found 64 of 64 vectors as NumPy does"
    return Finding(what, "ok", f"{found}; can hold them as {', '.join(forms)}")


def _faiss_name(version: str) -> str:
    """The FAISS that is imported, with the packages whose files it may be: faiss-cpu and one for GPUs share theirs."""
    from importlib import metadata

    return f"FAISS {version} ({', '.join(sorted(set(metadata.packages_distributions().get('faiss', []))))})"


def _used() -> str:
    place = choose("auto")
    if place == "cpu":
        return f"everything runs on the CPU: {_fault(0)}"
    return (
        f"indexing embeds on {place} by torch, with models that have torch weights; queries run on the CPU, which is "
        "ready before torch is imported, unless a device is named: then towers and vectors are on "
        f"{place.split(',')[0]}"
    )
