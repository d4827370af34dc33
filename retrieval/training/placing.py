"""Between NumPy and the device that training runs on, which is torch's default device: `with torch.device(...)`.

Modules and tensors made in such a block are on the device, so nothing else needs to know of it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor


def placed(device: str) -> AbstractContextManager[Any]:
    """A block in which everything is made on a device: `cpu` or `cuda:N`."""
    return nullcontext() if device == "cpu" else torch.device(device)  # the block costs every call of torch a little


def tensor(values: np.ndarray) -> Tensor:
    """The values on the device; on the CPU the very same memory."""
    return torch.as_tensor(values)


def array(values: Tensor) -> np.ndarray:
    """The values in the machine's own memory."""
    found: np.ndarray = values.detach().cpu().numpy()
    return found
