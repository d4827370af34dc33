"""How many rows fitted into a device's memory at once, remembered from one process to the next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# With so many times the memory free it is worth running out of it again to learn what fits now.
_MORE = 1.1


def path() -> Path:
    """Where it is kept: `batches.json` in the user's cache directory."""
    from platformdirs import user_cache_path

    return user_cache_path("mmsearch") / "batches.json"


def recalled(name: Sequence[str], free_bytes: int) -> int | None:
    """How many rows fitted under a name; None where nobody knows, or where more memory is free than at that time."""
    known = _known().get("/".join(name))
    if known is None or free_bytes > _MORE * known["free_bytes"]:
        return None
    return int(known["rows"])


def note(name: Sequence[str], rows: int, free_bytes: int) -> None:
    """Remember how many rows fitted under a name where so much memory was free; a disk that is full forgets it."""
    known = _known() | {"/".join(name): {"rows": rows, "free_bytes": free_bytes}}
    part = path().with_suffix(".part")
    with suppress(OSError):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known, indent=1), encoding="utf-8")
        part.replace(path())


def _known() -> dict[str, Any]:
    try:
        return dict(json.loads(path().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
