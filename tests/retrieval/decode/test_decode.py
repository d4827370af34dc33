"""What comes out of a file as a whole, and that nothing but Unreadable is ever raised."""

# mypy: disable-error-code="no-untyped-call"
# mutagen annotates only a part of itself.

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutagen.wave import WAVE
from PIL import Image

from mmsearch.index.errors import Unreadable
from mmsearch.index.items import KINDS, Root
from mmsearch.retrieval.decode import decode
from mmsearch.retrieval.types import Decoded, File, Passage, Preprocess

Read = Callable[..., Decoded]
WAV = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x08\0\0\0\x10\0\0\0\2\0\x10\0data\x08\0\0\0" + bytes(8)  # 0.5 s


def put_photo(path: Path, *, size: tuple[int, int] = (30, 20), orientation: int = 1, text: str = "") -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = text
    Image.new("RGB", size).save(path, exif=exif)


def texts(decoded: Decoded, view: str) -> list[str]:
    return [passage.text for passage in decoded.passages if passage.view == view]


def test_a_photo_gives_pixels_and_its_upright_size(tmp_path: Path, read: Read) -> None:
    put_photo(tmp_path / "p.jpg", size=(3000, 2000), orientation=6)
    decoded = read("p.jpg")
    assert decoded.pixels is not None
    assert decoded.pixels.shape == (8, 8, 3)
    assert decoded.metadata == {"width": 2000, "height": 3000}
    assert decoded.passages == ()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif", "tif"])
@pytest.mark.parametrize("pixels", [True, False])
def test_the_size_is_upright_in_every_format(tmp_path: Path, read: Read, suffix: str, pixels: bool) -> None:
    put_photo(tmp_path / f"p.{suffix}", orientation=6)
    metadata = read(f"p.{suffix}", pixels=pixels).metadata
    assert (metadata["width"], metadata["height"]) == (20, 30)


def test_without_pixels_captions_and_metadata_are_the_same(tmp_path: Path, read: Read) -> None:
    put_photo(tmp_path / "p.jpg", text="Rex at the lake")
    (tmp_path / "p.txt").write_text("A dog")
    whole, light = read("p.jpg"), read("p.jpg", pixels=False)
    assert light.pixels is None
    assert (light.passages, light.metadata) == (whole.passages, whole.metadata)


def test_captions_come_from_sidecars_manifest_and_the_photo_itself(tmp_path: Path, read: Read) -> None:
    put_photo(tmp_path / "p.jpg", text="Embedded")
    (tmp_path / "p.txt").write_text("Sidecar")
    (tmp_path / "p.jpg.json").write_text('{"caption": "Structured"}')
    decoded = read("p.jpg", manifest=(Passage("caption", "Manifest"), Passage("audio_caption", "Barking")))
    assert texts(decoded, "caption") == ["Structured", "Sidecar", "Manifest", "Embedded"]
    assert texts(decoded, "audio_caption") == ["Barking"]


def test_a_caption_that_is_said_twice_is_one_row(tmp_path: Path, read: Read) -> None:
    put_photo(tmp_path / "p.jpg", text="Rex at the lake")
    (tmp_path / "p.txt").write_text("Rex  at\nthe lake\n")
    assert texts(read("p.jpg"), "caption") == ["Rex at the lake"]


def test_a_caption_longer_than_the_context_is_split_not_cut(tmp_path: Path, read: Read) -> None:
    put_photo(tmp_path / "p.jpg")
    (tmp_path / "p.txt").write_text("one two three four five")
    assert texts(read("p.jpg", words=2), "caption") == ["one two", "three four", "five"]


def test_a_damaged_sidecar_does_not_cost_the_photo_its_place(tmp_path: Path, read: Read) -> None:
    put_photo(tmp_path / "p.jpg")
    (tmp_path / "p.json").write_text("{" * 100_000)
    (tmp_path / "p.txt").write_bytes(b"\0\1\2\xff")
    assert read("p.jpg").passages == ()


def test_the_title_of_a_takeout_sidecar_is_kept_unless_it_is_the_files_name(tmp_path: Path, read: Read) -> None:
    put_photo(tmp_path / "p.jpg")
    for title, kept in (("p.jpg", None), ("Summer", "Summer")):
        (tmp_path / "p.jpg.json").write_text(json.dumps({"title": title, "description": "By the sea"}))
        decoded = read("p.jpg")
        assert decoded.metadata.get("title") == kept
        assert texts(decoded, "caption") == ["By the sea"]


def test_the_captions_of_a_voice_note_are_the_photos_audio_captions(tmp_path: Path, read: Read) -> None:
    put_photo(tmp_path / "p.jpg")
    (tmp_path / "p.wav").write_bytes(WAV)
    (tmp_path / "p.txt").write_text("A dog")
    (tmp_path / "p.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\nThis is Rex\n")
    (tmp_path / "p.wav.txt").write_text("A man talks")
    assert read("p.jpg").passages == (
        Passage("caption", "A dog"),
        Passage("audio_caption", "This is Rex", 1.0, 2.5),
        Passage("audio_caption", "A man talks"),
    )
    assert texts(read("p.wav"), "audio_caption") == ["This is Rex", "A man talks"]


def test_a_damaged_voice_note_does_not_cost_the_photo_its_place(tmp_path: Path, read: Read) -> None:
    put_photo(tmp_path / "p.jpg")
    (tmp_path / "p.wav").write_bytes(b"RIFF")
    (tmp_path / "p.wav.txt").write_text("A man talks")
    assert read("p.jpg").passages == ()


def test_a_clip_gives_captions_and_its_length(tmp_path: Path, read: Read) -> None:
    (tmp_path / "c.wav").write_bytes(WAV)
    (tmp_path / "c.txt").write_text("Rain on a roof")
    decoded = read("c.wav", manifest=(Passage("audio_caption", "Thunder", 1.0, 2.0),))
    assert decoded.pixels is None
    assert decoded.passages == (
        Passage("audio_caption", "Rain on a roof"),
        Passage("audio_caption", "Thunder", 1.0, 2.0),
    )
    assert decoded.metadata == {"duration_s": 0.5}


def test_a_clip_without_captions_is_read_all_the_same(tmp_path: Path, read: Read) -> None:
    (tmp_path / "c.wav").write_bytes(WAV)
    assert read("c.wav").passages == ()


def test_the_title_of_a_clip_is_a_caption_only_where_there_is_no_other(tmp_path: Path, read: Read) -> None:
    from mutagen.id3 import TIT2

    (tmp_path / "c.wav").write_bytes(WAV)
    clip = WAVE(tmp_path / "c.wav")
    clip.add_tags()
    assert clip.tags is not None
    clip.tags.add(TIT2(text="Storm"))
    clip.save()
    assert texts(read("c.wav"), "audio_caption") == ["Storm"]
    (tmp_path / "c.txt").write_text("Rain on a roof")
    assert texts(read("c.wav"), "audio_caption") == ["Rain on a roof"]
    assert read("c.wav").metadata == {"duration_s": 0.5, "title": "Storm"}


def test_a_document_gives_passages_and_its_title(tmp_path: Path, read: Read) -> None:
    (tmp_path / "d.html").write_text("<title>Dogs</title><p>Rex barks.<p>Max sleeps.")
    decoded = read("d.html", words=2)
    assert decoded.passages == (
        Passage("text", "Rex barks.", char_start=0, char_end=10),
        Passage("text", "Max sleeps.", char_start=12, char_end=23),
    )
    assert (decoded.pixels, decoded.metadata) == (None, {"title": "Dogs"})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.jpg", "empty"),
        ("a.heic", "empty"),
        ("a.wav", "empty"),
        ("a.mp3", "empty"),
        ("a.txt", "empty: it holds no text"),
        ("a.html", "empty: it holds no text"),
    ],
)
def test_an_empty_file_is_unreadable(tmp_path: Path, read: Read, name: str, reason: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(Unreadable) as refused:
        read(name)
    assert refused.value.reason == reason


def test_a_file_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    for kind in KINDS:
        gone = File(Root(1, tmp_path), "gone", kind, 1, 1)
        with pytest.raises(Unreadable, match=r"^not there, or a link to something that is not there$"):
            decode(gone, preprocess=Preprocess(8), spans=lambda text: [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_unreadable(tmp_path: Path, read: Read) -> None:
    put_photo(tmp_path / "p.jpg")
    (tmp_path / "p.jpg").chmod(0)
    with pytest.raises(Unreadable, match=r"^cannot be read: Permission denied$"):
        read("p.jpg")


def seeds() -> list[bytes]:
    """A file of every kind of bytes that is read."""
    exif = Image.Exif()
    exif[0x010E] = "Rex"
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    made = [WAV, b"1\n00:00:01,000 --> 00:00:02,500\nHi\n", b"[00:01.00]Hi", b'{"caption": "Hi", "start": 1}']
    for form in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "HEIF"):
        stream = io.BytesIO()
        picture = Image.new("RGB", (24, 16), "red")
        if form == "HEIF":
            pillow_heif.from_pillow(picture).save(stream, exif=exif.tobytes())
        else:
            picture.save(stream, form, **({} if form in ("GIF", "BMP") else {"exif": exif}))
        made.append(stream.getvalue())
    return [*made, b"<html><p>Hi<script>x</script>", "caf\xe9".encode("latin-1"), b"\xff\xfeH\0i\0"]


SEEDS = seeds()
NAMES = ["a.jpg", "a.tif", "a.wav", "a.mp3", "a.flac", "a.ogg", "a.opus", "a.m4a", "b.txt", "b.html"]


@pytest.mark.filterwarnings("ignore")  # Pillow's, about what is damaged
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(NAMES), pixels=st.booleans())
def test_no_bytes_under_any_name_raise_anything_but_unreadable(
    tmp_path: Path, read: Read, data: st.DataObject, name: str, pixels: bool
) -> None:
    for left in tmp_path.iterdir():
        left.unlink()
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)))):
        content[place] = value
    kept = data.draw(st.integers(0, len(content)))
    (tmp_path / name).write_bytes(content[:kept])
    for sidecar in ("a.json", "a.srt", "a.vtt", "a.lrc"):
        (tmp_path / sidecar).write_bytes(content[:kept])
    try:
        decoded = read(name, pixels=pixels)
    except Unreadable as refused:
        reason = refused.reason
    else:
        assert isinstance(decoded, Decoded)
        return
    assert reason.isprintable()
