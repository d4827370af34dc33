"""The pool: decoded photos and teachers' features, cached once so that training never waits for a decoder.

A pool folder holds one folder per source:

    SOURCE/rows.jsonl    one line a photo: key, split, label, captions, print (64-bit difference hash, hex)
    SOURCE/pixels.npy    (N, S, S, 3) uint8 RGB, EXIF applied, squashed to a square
    SOURCE/NAME.npy      (N, F) float16, features of teacher NAME
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mmsearch.retrieval.training.sources import Photo, Source, read_source

Progress = Callable[[str], None]


def difference_hash(image: Image.Image) -> int:
    """64 bits, each saying whether one cell of a 9 x 8 grey thumbnail is brighter than its right neighbour."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BILINEAR))
    bits = (grey[:, :-1] > grey[:, 1:]).ravel()
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")


def open_photo(raw: bytes, side: int) -> Image.Image:
    """The photo as RGB with its EXIF orientation applied, decoded at no less than twice the side."""
    image = Image.open(io.BytesIO(raw))
    image.draft("RGB", (2 * side, 2 * side))
    return ImageOps.exif_transpose(image).convert("RGB")


def squash(image: Image.Image, side: int) -> np.ndarray:
    """(side, side, 3) uint8, bicubic with antialiasing, aspect ratio given up."""
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def build_source(source: Source, root: Path, out: Path, side: int, progress: Progress) -> None:
    """Decode one source into its folder of the pool; does nothing where that is already there.

    Photos that cannot be decoded are left out and counted.
    """
    folder = out / source.name
    if (folder / "rows.jsonl").exists():
        return
    photos = read_source(source, root)
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(photos), side, side, 3)
    pixels = np.lib.format.open_memmap(folder / "pixels.part.npy", mode="w+", dtype=np.uint8, shape=shape)
    rows: list[str] = []
    for photo in photos:
        try:
            image = open_photo(photo.read(), side)
        except Exception:
            continue
        pixels[len(rows)] = squash(image, side)
        rows.append(_row(photo, difference_hash(image)))
    pixels.flush()
    (folder / "pixels.part.npy").rename(folder / "pixels.npy")
    # Written last: its presence says that the source is complete. Rows past its end in pixels.npy are unused.
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    progress(f"{source.name}: {len(rows)} photos, {len(photos) - len(rows)} unreadable")


def _row(photo: Photo, print_: int) -> str:
    facts = {
        "key": photo.key, "split": photo.split, "label": photo.label, "captions": photo.captions,
        "print": f"{print_:016x}", "path": str(photo.path), "member": photo.member,
    }  # fmt: skip
    return json.dumps(facts)


@dataclass(frozen=True, slots=True)
class Shelf:
    """One source of the pool, opened: rows (N dicts), pixels (N, S, S, 3) uint8 memmap."""

    source: Source
    folder: Path
    rows: list[dict[str, object]]
    pixels: np.ndarray

    def features(self, name: str) -> np.ndarray:
        """(N, F) float16 memmap of a teacher's features."""
        return np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="r"))[: len(self.rows)]


def open_shelf(source: Source, out: Path) -> Shelf:
    folder = out / source.name
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line]
    return Shelf(source, folder, rows, np.load(folder / "pixels.npy", mmap_mode="r")[: len(rows)])


def near_duplicates(prints: np.ndarray, apart: np.ndarray, bits: int = 6) -> np.ndarray:
    """(N,) bool: which of the N hashes lie within `bits` of any of the M apart ones. Both uint64."""
    near = np.zeros(len(prints), dtype=bool)
    for other in apart:
        near |= np.bitwise_count(prints ^ other) <= bits
    return near
