from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.index.errors import Unreadable
from mmsearch.retrieval.decode import photos
from mmsearch.retrieval.types import Preprocess

SMALL = Preprocess(size=16)
TURNS = {  # what a camera stores for an upright scene, by the orientation that it notes
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def scene(width: int = 48, height: int = 32) -> Image.Image:
    """Colours that change smoothly, and differently along each side."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((np.dstack([x, y, 1 - x * y]) * 255).astype(np.uint8))


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def file_of(picture: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    if form == "HEIF":
        pillow_heif.from_pillow(picture).save(stream, quality=95, **options)
    else:
        picture.save(stream, form, **options)
    return stream.getvalue()


def png_of(header: bytes, rows: bytes) -> bytes:
    """A PNG as Pillow does not write it."""
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def grey(level: int) -> NDArray[np.uint8]:
    return np.full((16, 16, 3), level, np.uint8)


@pytest.mark.parametrize(
    ("size", "scaled", "corner"),
    [
        ((640, 427), (335, 224), (56, 0)),  # 335.7 cut off; half of 111 rounds to the even 56
        ((427, 640), (224, 335), (0, 56)),
        ((301, 224), (301, 224), (38, 0)),  # half of 77 rounds to the even 38
        ((500, 500), (224, 224), (0, 0)),
        ((100, 60), (373, 224), (74, 0)),  # smaller than the model's input; half of 149 rounds to the even 74
    ],
)
def test_shortest_is_resize_and_centre_crop_of_torchvision(
    size: tuple[int, int], scaled: tuple[int, int], corner: tuple[int, int]
) -> None:
    picture = noise(*size)
    left, top = corner
    expected = picture.resize(scaled, Image.Resampling.BICUBIC).crop((left, top, left + 224, top + 224))
    assert np.array_equal(photos.load(picture, Preprocess(224)), np.asarray(expected))


def test_squash_scales_both_sides_with_the_wanted_filter() -> None:
    picture = noise(60, 40)
    expected = np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR))
    squash = Preprocess(16, resize="squash", interpolation="bilinear")
    assert np.array_equal(photos.load(picture, squash), expected)


def test_the_input_is_writable_bytes_of_the_models_size() -> None:
    pixels = photos.load(scene(), SMALL)
    assert (pixels.shape, pixels.dtype) == ((16, 16, 3), np.dtype(np.uint8))
    assert pixels.flags.writeable


def test_a_large_jpeg_is_decoded_at_no_less_than_twice_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def watched(picture: Image.Image, *args: Any) -> Image.Image:
        decoded.append(picture.size)
        return resize(picture, *args)

    monkeypatch.setattr(Image.Image, "resize", watched)
    for width in (511, 512, 1000, 1024, 2000, 2048, 9000):
        photos.load(file_of(Image.new("L", (width, width)), "JPEG"), Preprocess(128))
    assert [width for width, _ in decoded] == [511, 256, 500, 256, 500, 256, 1125]


def test_decoding_small_hardly_changes_a_photo() -> None:
    picture = scene(1600, 1200)
    data = file_of(picture, "JPEG", quality=95)
    assert distance(photos.load(data, Preprocess(64)), photos.load(picture, Preprocess(64))) < 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_photos_are_put_upright(form: str, orientation: int) -> None:
    stored = scene() if (turn := TURNS[orientation]) is None else scene().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(stored, form, exif=exif.tobytes())
    assert distance(photos.load(data, SMALL), photos.load(scene(), SMALL)) < 4


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_is_none_is_passed_over(orientation: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(scene(), "PNG", exif=exif)
    assert np.array_equal(photos.load(data, SMALL), photos.load(scene(), SMALL))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "HEIF"])
def test_every_format_is_read(form: str) -> None:
    assert distance(photos.load(file_of(scene(), form), SMALL), photos.load(scene(), SMALL)) < 6


def test_an_avif_of_the_general_brand_is_read() -> None:
    data = bytearray(file_of(scene(), "AVIF"))
    data[8:12] = b"mif1"
    assert distance(photos.load(bytes(data), SMALL), photos.load(scene(), SMALL)) < 6


def test_a_multi_picture_jpeg_shows_its_first_picture() -> None:
    data = file_of(scene(), "MPO", save_all=True, append_images=[Image.new("RGB", (48, 32))])
    assert distance(photos.load(data, SMALL), photos.load(scene(), SMALL)) < 6


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_the_first_frame_or_page_is_shown(form: str) -> None:
    data = file_of(scene(), form, save_all=True, append_images=[Image.new("RGB", (48, 32))])
    assert distance(photos.load(data, SMALL), photos.load(scene(), SMALL)) < 6


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_is_read(form: str) -> None:
    data = file_of(scene().convert("CMYK"), form)
    assert (b"Adobe" in data) == (form == "JPEG")  # the mark of inverted colours
    assert distance(photos.load(data, SMALL), photos.load(scene(), SMALL)) < 4


@pytest.mark.parametrize("mode", ["L", "1", "P", "YCbCr", "LAB"])
def test_other_colour_spaces_are_read(mode: str) -> None:
    level: Any = {"P": 0, "LAB": (128, 128, 128), "YCbCr": (128, 128, 128), "1": 1}.get(mode, 128)
    picture = Image.new(mode, (20, 20), level)
    if mode == "P":
        picture.putpalette([128, 128, 128])
    data = file_of(picture, "PNG" if mode in ("L", "1", "P") else "TIFF")
    expected = grey(255 if mode == "1" else 128)
    assert distance(photos.load(data, SMALL), expected) <= (10 if mode == "LAB" else 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(mode: str) -> None:
    half = Image.new(mode, (20, 20), (0, 0, 0, 128) if mode == "RGBA" else (0, 128))
    assert np.array_equal(photos.load(file_of(half, "PNG"), SMALL), grey(127))


@pytest.mark.parametrize("transparency", [0, bytes([0] * 256)])
def test_a_transparent_palette_entry_lies_over_white(transparency: int | bytes) -> None:
    picture = Image.new("P", (20, 20), 0)
    picture.putpalette([0, 0, 0])
    data = file_of(picture, "PNG", transparency=transparency)
    assert np.array_equal(photos.load(data, SMALL), grey(255))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize(("value", "level"), [(0, 0), (200, 1), (32768, 128), (65535, 255)])
def test_sixteen_bit_grey_is_scaled_not_clipped(form: str, value: int, level: int) -> None:
    picture = Image.fromarray(np.full((20, 20), value, np.uint16))
    assert np.array_equal(photos.load(file_of(picture, form), SMALL), grey(level))


def test_sixteen_bit_colour_is_scaled_not_clipped() -> None:
    row = b"\0" + struct.pack(">3H", 0x1234, 0x8000, 0xFFFF) * 20
    png = png_of(struct.pack(">2I5B", 20, 20, 16, 2, 0, 0, 0), row * 20)
    assert photos.load(png, SMALL)[0, 0].tolist() == [0x12, 0x80, 0xFF]


@pytest.mark.parametrize(
    ("values", "level"),
    [
        (np.full((20, 20), 0.5, np.float32), 128),
        (np.full((20, 20), 128.0, np.float32), 128),
        (np.full((20, 20), 32768, np.int32), 128),
        (np.full((20, 20), 10_000_000, np.int32), 255),
        (np.full((20, 20), np.nan, np.float32), 0),
        (np.full((20, 20), -4.0, np.float32), 0),
    ],
)
def test_deep_grey_is_scaled_by_the_least_usual_white(values: NDArray[Any], level: int) -> None:
    assert np.array_equal(photos.load(file_of(Image.fromarray(values), "TIFF"), SMALL), grey(level))


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_arrays_are_read(channels: tuple[int, ...]) -> None:
    array = np.full((20, 30, *channels), 255, np.uint8)
    assert np.array_equal(photos.load(array, SMALL), grey(255))


def test_an_array_of_another_type_is_unreadable() -> None:
    with pytest.raises(Unreadable, match=r"^damaged: "):
        photos.load(np.zeros((20, 30, 3), np.float64), SMALL)


def test_a_picture_that_was_handed_in_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(file_of(scene(640, 480), "JPEG"))
    with Image.open(tmp_path / "a.jpg") as picture:
        photos.load(picture, SMALL)
        assert np.asarray(picture).shape == (480, 640, 3)


def test_a_photo_is_read_by_its_content_not_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(file_of(scene(), "PNG"))
    assert np.array_equal(photos.load(tmp_path / "a.jpg", SMALL), photos.load(scene(), SMALL))


def test_the_limit_is_read_from_the_header() -> None:
    png = png_of(struct.pack(">2I5B", 20_600, 20_000, 1, 0, 0, 0, 0), b"")  # without any pixels
    with pytest.raises(Unreadable) as refused:
        photos.load(png, SMALL)
    assert refused.value.reason == "412 megapixels; the limit is 100. Raise it with --max-megapixels."


def test_the_limit_is_the_callers_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = file_of(scene(1000, 500), "PNG")
    assert photos.load(data, SMALL, max_megapixels=0.5).shape == (16, 16, 3)
    with pytest.raises(Unreadable, match=r"^0\.5 megapixels; the limit is 0\.49\."):
        photos.load(data, SMALL, max_megapixels=0.49)


def test_a_stripe_is_refused() -> None:
    assert photos.load(Image.new("L", (1, 200)), SMALL).shape == (16, 16, 3)
    with pytest.raises(Unreadable, match=r"^201 x 1 pixels; too narrow for a photo$"):
        photos.load(file_of(Image.new("L", (201, 1)), "PNG"), SMALL)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just words", "not a photo, whatever its name says"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a photo, whatever its name says"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not a photo, whatever its name says"),
        (b"\x89PNG\r\n\x1a\n", "damaged: its structure is broken"),
    ],
)
def test_what_is_no_photo_says_so(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as refused:
        photos.load(data, SMALL)
    assert refused.value.reason == reason


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "HEIF"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8])
def test_a_truncated_photo_is_unreadable(form: str, kept: float) -> None:
    data = file_of(noise(200, 150), form)
    with pytest.raises(Unreadable):
        photos.load(data[: int(len(data) * kept)], SMALL)


def test_a_missing_file_and_a_pipe_are_unreadable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(Unreadable, match=r"^not there, or a link to something that is not there$"):
        photos.load(tmp_path / "gone.jpg", SMALL)
    with pytest.raises(Unreadable, match=r"^not a regular file$"):
        photos.load(tmp_path / "pipe.jpg", SMALL)


def test_memory_that_runs_out_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", no_memory)
    with pytest.raises(Unreadable, match=r"^too large for the free memory$"):
        photos.load(scene(), SMALL)
