"""How many processor cores there are to work on."""

from __future__ import annotations

import os


def cores() -> int:
    """The number of cores that this process may run on, where the system says it; else of all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
