from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmsearch.retrieval.decode import captions
from mmsearch.retrieval.types import Passage

Spans = Callable[[str], list[tuple[int, int]]]
Timed = list[tuple[str, float | None, float | None]]


def timed(tmp_path: Path, name: str, text: str) -> Timed:
    (tmp_path / name).write_bytes(text.encode())
    found = captions.from_sidecars([tmp_path / name], "audio_caption")
    assert {passage.view for passage in found} <= {"audio_caption"}
    return [(passage.text, passage.start_s, passage.end_s) for passage in found]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_srt_rows_keep_their_times(tmp_path: Path, end: str) -> None:
    text = "1\n00:00:01,000 --> 00:00:03,500\n<i>Hello</i> {\\an8}there\n\n2\n01:00:04,000 --> 01:00:05,250\n1984\n"
    assert timed(tmp_path, "c.srt", text.replace("\n", end)) == [
        ("Hello there", 1.0, 3.5),
        ("1984", 3604.0, 3605.25),
    ]


def test_a_subtitle_that_ends_before_it_begins_ends_at_once(tmp_path: Path) -> None:
    assert timed(tmp_path, "c.srt", "1\n00:00:05,000 --> 00:00:03,000\nHi\n") == [("Hi", 5.0, 5.0)]


def test_vtt_rows_keep_their_times_and_lose_notes_and_markup(tmp_path: Path) -> None:
    text = """WEBVTT - title

STYLE
::cue { color: red }

NOTE nothing to read

intro
00:01.000 --> 00:03.500 align:start
<v Bob>Hello <b>there</b> &amp; you

NOTE nor here

01:00:04.000 --> 01:00:05.000
- second
- line
"""
    assert timed(tmp_path, "c.vtt", text) == [
        ("Hello there & you", 1.0, 3.5),
        ("- second\n- line", 3604.0, 3605.0),
    ]


def test_a_line_of_lrc_lasts_until_the_next(tmp_path: Path) -> None:
    text = "[ar:Someone]\n[00:01.50]First\n[00:03.00]\n[01:04:25]<01:04.25>Sec <01:05.00>ond\nno time\n"
    assert timed(tmp_path, "c.lrc", text) == [
        ("First", 1.5, 3.0),
        ("", 3.0, 64.25),
        ("Sec  ond", 64.25, None),
    ]


def test_a_line_of_lrc_with_several_times_comes_several_times(tmp_path: Path) -> None:
    assert timed(tmp_path, "c.lrc", "[00:10.00][00:20.00]Chorus\n[00:15.00]Verse") == [
        ("Chorus", 10.0, 15.0),
        ("Verse", 15.0, 20.0),
        ("Chorus", 20.0, None),
    ]


def test_the_offset_of_lrc_moves_lines_earlier(tmp_path: Path) -> None:
    assert timed(tmp_path, "c.lrc", "[offset:+500]\n[00:00.20]A\n[00:02.00]B") == [
        ("A", 0.0, 1.5),
        ("B", 1.5, None),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"caption": "A"}', [("A", None, None)]),
        ('{"captions": ["A", "B"]}', [("A", None, None), ("B", None, None)]),
        ('{"captions": "A"}', [("A", None, None)]),
        ('{"caption": "A", "captions": ["B"]}', [("A", None, None), ("B", None, None)]),
        ('{"description": "A"}', [("A", None, None)]),
        ('{"caption": "A", "start": 1, "end": 2.5}', [("A", 1.0, 2.5)]),
        ('{"captions": [{"caption": "A", "start": 0, "end": 1}, {"text": "B"}]}', [("A", 0.0, 1.0), ("B", None, None)]),
        ('["A", {"caption": "B"}]', [("A", None, None), ("B", None, None)]),
        ('{"caption": "A", "start": "1", "end": -1}', [("A", None, None)]),
        ('{"caption": "A", "start": NaN, "end": Infinity}', [("A", None, None)]),
        ('{"caption": "  "}', []),
        ('{"caption": 7, "captions": [null, 7, []], "description": {}}', []),
        ("7", []),
    ],
)
def test_json_gives_its_captions(tmp_path: Path, text: str, found: Timed) -> None:
    assert timed(tmp_path, "c.json", text) == found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", b"{not json"),
        ("c.json", b'{"caption": "A", "start": 1' + b"0" * 400 + b"}"),
        ("c.vtt", b"no header"),
        ("c.srt", b"\0\1\2"),
        ("c.txt", b"\xff\0\xfe\1"),
        ("c.lrc", b"[" + b"9" * 5000 + b":00]A"),
    ],
)
def test_a_sidecar_that_cannot_be_read_holds_no_captions(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "ok.txt").write_text("A dog")
    found = captions.from_sidecars([tmp_path / name, tmp_path / "ok.txt", tmp_path / "gone.txt"], "caption")
    assert found == [Passage("caption", "A dog")]


def test_the_title_is_the_first_that_a_json_gives(tmp_path: Path) -> None:
    for name, text in (("a.txt", "no"), ("b.json", '{"title": " "}'), ("c.json", '{"title": "Sea"}'), ("d.json", "[")):
        (tmp_path / name).write_text(text)
    assert captions.title_from(sorted(tmp_path.iterdir())) == "Sea"
    assert captions.title_from([tmp_path / "b.json", tmp_path / "d.json"]) is None


def test_fitted_captions_keep_view_and_times_in_every_part(spans_of: Callable[[int], Spans]) -> None:
    long = Passage("audio_caption", " one two\n three ", 1.0, 2.0)
    assert captions.fitted([long, Passage("caption", " \n")], spans_of(2)) == (
        Passage("audio_caption", "one two", 1.0, 2.0),
        Passage("audio_caption", "three", 1.0, 2.0),
    )


def test_the_same_words_at_another_time_are_another_row(spans_of: Callable[[int], Spans]) -> None:
    rows = [Passage("audio_caption", "Rain", start) for start in (1.0, 2.0, 1.0)]
    assert captions.fitted(rows, spans_of(9)) == (rows[0], rows[1])
