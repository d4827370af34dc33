"""A process that reads files for another one, which is thereby free for the GPU.

It is started with the numbers of two open files: a socket to the other process, over which a Setup and then Requests
come and Replies go, and memory that both share, in slots of equal size, where the bytes of photos are put.
It ends when the other process does.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.retrieval.decode import decode, photos
from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.tokens import Tokens
from mmsearch.retrieval.types import Decoded, File, Passage, Preprocess

# What of a photo is put into the slot: nothing, its pixels, or the bytes of a whole JPEG for a GPU to decode.
Want = Literal["nothing", "pixels", "jpeg"]


@dataclass(frozen=True, slots=True)
class Setup:
    """What does not change from file to file. model: the directory of the model whose input is made."""

    model: Path
    max_megapixels: float
    slot_bytes: int


@dataclass(frozen=True, slots=True)
class Request:
    """A file to read into a slot."""

    slot: int
    file: File
    manifest: tuple[Passage, ...]
    want: Want


@dataclass(frozen=True, slots=True)
class Picture:
    """What lies in the slot.

    shape: (H, W, 3) of upright RGB pixels, or (B,) of the bytes of a JPEG.
    size:  width and height that the upright photo is to be scaled to; None where the pixels are the model's input.
    orientation: by which a decoded JPEG is turned upright, 1 to 8 as in EXIF.
    """

    shape: tuple[int, ...]
    size: tuple[int, int] | None
    orientation: int = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """What a file holds, without pixels, or what was raised instead."""

    decoded: Decoded | None = None
    picture: Picture | None = None
    error: Exception | None = None


class Reader:
    """Reads files into slots of memory."""

    def __init__(self, setup: Setup, memory: NDArray[np.uint8]) -> None:
        model = model_directory.read(setup.model)
        self._setup = setup
        self._preprocess = model.card.preprocess
        self._spans = Tokens(model).spans
        self._memory = memory

    def answer(self, request: Request) -> Reply:
        """What the file holds; whatever is wrong with it is in the reply."""
        start = request.slot * self._setup.slot_bytes
        filler = _Filler(self._memory[start : start + self._setup.slot_bytes], request)
        try:
            decoded = decode(
                request.file,
                preprocess=self._preprocess,
                spans=self._spans,
                manifest=request.manifest,
                max_megapixels=self._setup.max_megapixels,
                pixels=request.want != "nothing",
                take=filler.take,
            )
        except Exception as error:  # it is raised again where the file was asked for
            return Reply(error=error)
        return Reply(replace(decoded, pixels=None), filler.picture)


class _Filler:
    """Puts a photo into a slot: its bytes or draft where they are wanted and fit, else the model's input."""

    def __init__(self, slot: NDArray[np.uint8], request: Request) -> None:
        self._slot = slot
        self._request = request
        self.picture: Picture | None = None

    def take(self, photo: Image.Image, preprocess: Preprocess) -> NDArray[np.uint8]:
        """Put the photo into the slot; what it returns is not used."""
        if photo.format != "JPEG":
            return self._put(photos.pixels(photo, preprocess), None)
        size = photos.scaled_size(photo, preprocess)
        if self._request.want == "jpeg" and (whole := self._whole(photo)) is not None:
            return self._put(whole, size, photos.orientation(photo))
        draft = photos.upright(photo, size)
        pixels = np.asarray(draft.convert("RGB"))
        if pixels.size > len(self._slot):
            return self._put(photos.scaled(draft, size, preprocess), None)
        return self._put(pixels, size)

    def _whole(self, photo: Image.Image) -> NDArray[np.uint8] | None:
        """The bytes of a JPEG in grey or YCbCr that fit the slot and have an end; what has none is for Pillow."""
        path = self._request.file.path
        if photo.mode not in ("L", "RGB") or path.stat().st_size > len(self._slot):
            return None
        data = path.read_bytes()
        return np.frombuffer(data, np.uint8) if b"\xff\xd9" in data[-64:] else None

    def _put(self, values: NDArray[np.uint8], size: tuple[int, int] | None, orientation: int = 1) -> NDArray[np.uint8]:
        self._slot[: values.size] = values.reshape(-1)
        self.picture = Picture(values.shape, size, orientation)
        return values


def main() -> None:
    """Answer requests until the other process is gone."""
    connection = Connection(int(sys.argv[1]))
    memory = np.frombuffer(mmap.mmap(int(sys.argv[2]), 0), np.uint8)
    with suppress(EOFError, OSError):
        reader = Reader(connection.recv(), memory)
        while True:
            connection.send(reader.answer(connection.recv()))
