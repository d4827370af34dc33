"""Writing a file so that after any crash either the old one or the new one is there, whole."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 24


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file, then put it at path in one step. OSError leaves what was there before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def unused(folder: Path, stem: str, suffix: str) -> Path:
    """A path STEM-N and suffix with a greater N than that of any file of the stem in a folder."""
    numbers = [int(path.stem.rpartition("-")[2]) for path in numbered(folder, stem)]
    return folder / f"{stem}-{max(numbers, default=0) + 1}{suffix}"


def numbered(folder: Path, stem: str) -> list[Path]:
    """The files of a folder whose names are STEM-N and any suffix."""
    return [path for path in folder.glob(f"{stem}-*.*") if path.stem.removeprefix(f"{stem}-").isdecimal()]


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: Path) -> int:
    """CRC-32 of a file: it finds damage, not malice, at the speed of memory."""
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc
