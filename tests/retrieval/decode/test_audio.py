# mypy: disable-error-code="no-untyped-call"
# mutagen annotates only a part of itself.

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from mutagen.flac import FLAC
from mutagen.id3 import COMM, ID3, SYLT, TIT2, TXXX, USLT
from mutagen.mp4 import MP4
from mutagen.ogg import OggPage
from mutagen.oggopus import OggOpus

from mmsearch.index.errors import Unreadable
from mmsearch.retrieval.decode import audio
from mmsearch.retrieval.types import Passage


def wav(path: Path) -> None:
    head = struct.pack("<4sI8sIHHIIHH", b"RIFF", 36 + 8000, b"WAVEfmt ", 16, 1, 1, 8000, 8000, 1, 8)
    path.write_bytes(head + struct.pack("<4sI", b"data", 8000) + bytes(8000))


def mp3(path: Path) -> None:
    path.write_bytes((b"\xff\xfb\x90\x64" + bytes(413)) * 40)  # frames of silence, 128 kbit/s at 44.1 kHz


def flac(path: Path) -> None:
    rate_channels_bits_samples = (8000 << 44) | (0 << 41) | (15 << 36) | 8000
    info = struct.pack(">HH6sQ16s", 4096, 4096, bytes(6), rate_channels_bits_samples, bytes(16))
    path.write_bytes(b"fLaC\x80" + struct.pack(">I", len(info))[1:] + info)


def opus(path: Path) -> None:
    pages = []
    vendor_without_comments = b"OpusTags" + struct.pack("<I4sI", 4, b"test", 0)
    packets = [b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 0, 48000, 0, 0), vendor_without_comments, b"\xfc"]
    for sequence, packet in enumerate(packets):
        page = OggPage()
        page.packets, page.serial, page.sequence = [packet], 7, sequence
        page.first, page.last = sequence == 0, sequence == 2
        page.position = 48000 if sequence == 2 else 0
        pages.append(page)
    path.write_bytes(b"".join(page.write() for page in pages))


def m4a(path: Path) -> None:
    def atom(name: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I", 8 + len(body)) + name + body

    header = atom(b"mdhd", struct.pack(">IIIIII", 0, 0, 0, 1000, 1000, 0))
    handler = atom(b"hdlr", bytes(8) + b"soun" + bytes(13))
    movie = atom(b"moov", atom(b"trak", atom(b"mdia", header, handler)))
    path.write_bytes(atom(b"ftyp", b"M4A \0\0\0\0M4A ") + movie + atom(b"mdat"))


CLIPS: dict[str, Callable[[Path], None]] = {
    **{"c.wav": wav, "c.mp3": mp3, "c.flac": flac, "c.opus": opus, "c.m4a": m4a},
    "c.ogg": opus,
    "c.oga": opus,
}


def tagged(path: Path, *frames: object) -> audio.Clip:
    mp3(path)
    tags = ID3()
    for frame in frames:
        tags.add(frame)
    tags.save(path)
    return audio.read(path)


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_of_every_kind_is_read(tmp_path: Path, name: str) -> None:
    CLIPS[name](tmp_path / name)
    clip = audio.read(tmp_path / name)
    assert (clip.captions, clip.title) == ((), None)
    assert clip.duration_s == pytest.approx(1.0, abs=0.05)


def test_id3_comments_descriptions_and_lyrics_are_captions(tmp_path: Path) -> None:
    clip = tagged(
        tmp_path / "c.mp3",
        COMM(lang="eng", desc="", text=["Rain on a roof"]),
        COMM(lang="eng", desc="iTunNORM", text=[" 00000A2B"]),
        TXXX(desc="description", text=["A storm"]),
        TXXX(desc="replaygain_track_gain", text=["-6 dB"]),
        USLT(lang="eng", text="La la"),
        TIT2(text=["Storm"]),
    )
    assert [passage.text for passage in clip.captions] == ["Rain on a roof", "A storm", "La la"]
    assert {passage.view for passage in clip.captions} == {"audio_caption"}
    assert clip.title == "Storm"


def test_timed_lyrics_of_id3_keep_their_times(tmp_path: Path) -> None:
    lines = SYLT(lang="eng", format=2, type=1, text=[("First", 1500), ("Second", 3000)])
    assert tagged(tmp_path / "c.mp3", lines).captions == (
        Passage("audio_caption", "First", 1.5, 3.0),
        Passage("audio_caption", "Second", 3.0, None),
    )


def test_lyrics_timed_in_frames_are_left_out(tmp_path: Path) -> None:
    assert tagged(tmp_path / "c.mp3", SYLT(lang="eng", format=1, type=1, text=[("First", 3)])).captions == ()


def test_plain_lyrics_with_stamps_are_timed(tmp_path: Path) -> None:
    clip = tagged(tmp_path / "c.mp3", USLT(lang="eng", text="[00:01.00]First\n[00:02.00]Second"))
    assert clip.captions == (
        Passage("audio_caption", "First", 1.0, 2.0),
        Passage("audio_caption", "Second", 2.0, None),
    )


@pytest.mark.parametrize(("make", "kind"), [(flac, FLAC), (opus, OggOpus)])
def test_vorbis_comments_are_captions(tmp_path: Path, make: Callable[[Path], None], kind: type[FLAC | OggOpus]) -> None:
    make(tmp_path / "c.ogg")
    clip = kind(tmp_path / "c.ogg")
    tags = {"Description": "Rain", "comment": "Recorded at home", "LYRICS": "La", "title": "Storm", "encoder": "x"}
    if clip.tags is None:
        clip.add_tags()
    clip.update(tags)
    clip.save()
    said = audio.read(tmp_path / "c.ogg")
    assert [passage.text for passage in said.captions] == ["Rain", "Recorded at home", "La"]
    assert said.title == "Storm"


def test_mp4_atoms_are_captions(tmp_path: Path) -> None:
    m4a(tmp_path / "c.m4a")
    clip = MP4(tmp_path / "c.m4a")
    clip["desc"], clip["\xa9cmt"], clip["\xa9lyr"], clip["\xa9nam"] = "Rain", "At home", "La", "Storm"
    clip.save()
    said = audio.read(tmp_path / "c.m4a")
    assert [passage.text for passage in said.captions] == ["Rain", "At home", "La"]
    assert said.title == "Storm"


def test_what_programs_write_is_no_caption(tmp_path: Path) -> None:
    assert tagged(tmp_path / "c.mp3", COMM(lang="eng", desc="", text=["Processed by SoX", "0"])).captions == ()


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("content", [b"", b"just words", b"\x89PNG\r\n\x1a\n" + bytes(99)])
def test_what_is_no_sound_is_unreadable(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unreadable, match=r"^(empty|not a sound recording, whatever its name says|damaged: .+)$"):
        audio.read(tmp_path / name)


@pytest.mark.parametrize("name", ["c.flac", "c.opus", "c.m4a"])
def test_a_header_that_breaks_off_is_unreadable(tmp_path: Path, name: str) -> None:
    CLIPS[name](tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:30])
    with pytest.raises(Unreadable):
        audio.read(tmp_path / name)
