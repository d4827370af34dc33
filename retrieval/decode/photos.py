"""Photos as pixels: upright, RGB, at the size that the model takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from mmsearch.index.errors import Unreadable
from mmsearch.retrieval.decode.reading import refusing
from mmsearch.retrieval.types import Preprocess

Source = Path | bytes | Image.Image | NDArray[Any]

MAX_ASPECT = 200  # a stripe any narrower would be scaled up to gigabytes before its centre is cut out

# Pillow's own Image.open would warn about or refuse large photos by a limit that is global to the process.
_FORMATS = (
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    GifImagePlugin.GifImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    AvifImagePlugin.AvifImageFile.format,
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load(source: Source, preprocess: Preprocess, max_megapixels: float = 100.0) -> NDArray[np.uint8]:
    """The model's input (S, S, 3), RGB, of a photo: a file, the bytes of one, a picture or an array.

    Arrays are (H, W), (H, W, 3) or (H, W, 4) uint8. Unreadable where there is no whole photo of at most
    max_megapixels in it.
    """
    with opened(source, max_megapixels) as photo:
        return pixels(photo, preprocess)


@contextmanager
def opened(source: Source, max_megapixels: float) -> Iterator[Image.Image]:
    """The photo with only its header read, its size checked. Every failure inside is Unreadable."""
    with refusing():
        if isinstance(source, Image.Image):
            yield source.copy()  # decoding at a smaller size would change the caller's picture
        elif isinstance(source, np.ndarray):
            yield Image.fromarray(source)
        else:
            with _stream(source) as stream, _identified(stream) as photo:
                _check_size(photo, max_megapixels)
                yield photo


def pixels(photo: Image.Image, preprocess: Preprocess) -> NDArray[np.uint8]:
    """The model's input (S, S, 3) of an opened photo: exactly what torchvision's Resize and CenterCrop make
    of it, save that a JPEG is first scaled down while it is decoded, to no less than twice that size."""
    size = scaled_size(photo, preprocess)
    return scaled(upright(photo, size), size, preprocess)


def scaled_size(photo: Image.Image, preprocess: Preprocess) -> tuple[int, int]:
    """The width and height, upright, that an opened photo is scaled to before its centre is cut out."""
    width, height = _scaled(photo.size, preprocess)
    return (height, width) if is_turned(photo) else (width, height)


def upright(photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An opened photo decoded and turned, in RGB or grey; a JPEG at no less than twice the size that it will have."""
    width, height = size[::-1] if is_turned(photo) else size
    photo.draft(None, (2 * width, 2 * height))
    photo.load()
    turn = _TURNS.get(orientation(photo))
    return _plain(photo.transpose(turn) if turn is not None else photo)


def scaled(picture: Image.Image, size: tuple[int, int], preprocess: Preprocess) -> NDArray[np.uint8]:
    """The model's input (S, S, 3) of an upright photo that is to be scaled to size."""
    resized = picture.resize(size, Image.Resampling[preprocess.interpolation.upper()])
    left, top = corner(size, preprocess)
    cropped = resized.crop((left, top, left + preprocess.size, top + preprocess.size))
    return np.array(cropped.convert("RGB"))


def corner(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """Left and top of the centre that is cut out of a photo scaled to size."""
    return round((size[0] - preprocess.size) / 2), round((size[1] - preprocess.size) / 2)


def orientation(photo: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where the photo does not say, or says nonsense."""
    try:
        value = photo.getexif().get(0x0112, 1)
    except Exception:  # whatever damaged EXIF makes Pillow raise
        return 1
    return value if value in _TURNS else 1


def is_turned(photo: Image.Image) -> bool:
    """Whether an opened photo's width and height trade places when it is put upright."""
    return orientation(photo) >= 5 and photo.format != "TIFF"  # Pillow swaps those of a TIFF by itself


def _stream(source: Path | bytes) -> IO[bytes]:
    if isinstance(source, bytes):
        return BytesIO(source)
    if not source.is_file() and source.exists():
        raise Unreadable("not a regular file")  # opening a pipe would wait for ever
    return source.open("rb")


def _identified(stream: IO[bytes]) -> Image.Image:
    """The photo in a stream by what its first bytes say, whatever its name is."""
    prefix = stream.read(64)
    stream.seek(0)
    if not prefix:
        raise Unreadable("empty")
    if prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS and b"avif" not in prefix:
        from pillow_heif import HeifImageFile

        return HeifImageFile(stream)  # type: ignore[no-untyped-call]
    for name in _FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is None or accept(prefix):
            return factory(stream, "")
    raise Unreadable("not a photo, whatever its name says")


def _check_size(photo: Image.Image, max_megapixels: float) -> None:
    width, height = photo.size
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise Unreadable(
            f"{megapixels:.4g} megapixels; the limit is {max_megapixels:g}. Raise it with --max-megapixels."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Unreadable(f"{width} x {height} pixels; too narrow for a photo")


def _scaled(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """The size that a photo is scaled to before its centre is cut out."""
    side = preprocess.size
    if preprocess.resize == "squash":
        return side, side
    width, height = size
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def _plain(picture: Image.Image) -> Image.Image:
    """The picture as L or RGB: resampling is only right on these."""
    if picture.mode.startswith("I;16"):
        return _grey(np.asarray(picture), white=65535.0)
    if picture.mode in ("I", "F"):
        return _grey(np.asarray(picture))
    if picture.has_transparency_data:
        canvas = Image.new("RGBA", picture.size, "white")
        canvas.alpha_composite(picture.convert("RGBA"))
        return canvas.convert("RGB")
    if picture.mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _grey(values: NDArray[Any], white: float | None = None) -> Image.Image:
    """Deep grey values (H, W) scaled, not clipped, to eight bits.

    Without a known white it is the smallest of 1, 255 and 65535 that no value exceeds, or the brightest value.
    """
    values = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    darkest, brightest = min(float(values.min()), 0.0), float(values.max())
    if white is None:
        white = next((usual for usual in (1.0, 255.0, 65535.0) if brightest <= usual), brightest)
    scaled = (values - darkest) * (255.0 / (white - darkest))
    return Image.fromarray(scaled.round().astype(np.uint8))
