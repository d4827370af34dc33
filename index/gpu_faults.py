"""What the errors of a GPU mean: memory that ran out, or a card that cannot be used any more.

torch has a class of its own for the first; what cuBLAS, cuDNN, FAISS and the driver raise is a RuntimeError with words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from mmsearch.index.errors import DeviceUnavailable

_FULL = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_LOST = ("CUDA error", "CUDA driver error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error")

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had too little memory for what was asked.

    >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    True
    """
    return type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in _FULL)


def fitting(work: Callable[[], T], otherwise: Callable[[], T]) -> T:
    """What work gives, or what otherwise does where a device has too little memory for work."""
    try:
        return work()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Only here: while the error is handled, its traceback holds what work had allocated.
    empty_cache()
    return otherwise()


@contextmanager
def faults_named(device: str) -> Iterator[None]:
    """Turn the error of a card that is lost into DeviceUnavailable; any other passes, memory that ran out too."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or not any(words in str(error) for words in _LOST):
            raise
        raise DeviceUnavailable(device=device, reason=f"{first_line(error)}; what was done is kept") from error


def first_line(error: object) -> str:
    """What an error or a warning says, less the advice that follows; the name of its class where it says nothing."""
    return str(error).strip().partition("\n")[0].removesuffix(".") or type(error).__name__


def empty_cache() -> None:
    """Have torch give back the device memory that it keeps for later. A card that is lost has none to give."""
    import torch

    with suppress(RuntimeError):
        torch.cuda.empty_cache()
