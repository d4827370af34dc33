from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.index.errors import Unreadable
from mmsearch.retrieval.decode import documents, reading

Spans = Callable[[str], list[tuple[int, int]]]


def cut(text: str, spans: Spans) -> list[str]:
    return [passage.text for passage in documents.passages(text, spans)]


def page(tmp_path: Path, source: str | bytes) -> documents.Document:
    (tmp_path / "d.html").write_bytes(source if isinstance(source, bytes) else source.encode())
    return documents.read(tmp_path / "d.html")


def test_a_text_that_fits_is_one_passage(spans_of: Callable[[int], Spans]) -> None:
    (passage,) = documents.passages("  One two.\n\nThree.\n", spans_of(3))
    assert (passage.view, passage.text) == ("text", "One two.\n\nThree.")
    assert (passage.char_start, passage.char_end) == (2, 18)


@pytest.mark.parametrize(
    ("words", "passages"),
    [
        (9, ["A b. C d.\n\nE f g."]),
        (4, ["A b. C d.", "E f g."]),
        (3, ["A b.", "C d.", "E f g."]),
        (2, ["A b.", "C d.", "E f", "g."]),
    ],
)
def test_a_text_is_cut_at_paragraphs_then_sentences_then_words(
    spans_of: Callable[[int], Spans], words: int, passages: list[str]
) -> None:
    assert cut("A b. C d.\n\nE f g.", spans_of(words)) == passages


def test_short_paragraphs_share_a_passage_up_to_the_context(spans_of: Callable[[int], Spans]) -> None:
    assert cut("a\n\nb\n\nc\n \nd\n\ne", spans_of(2)) == ["a\n\nb", "c\n \nd", "e"]


def test_sentences_end_at_marks_of_several_scripts() -> None:
    one_sentence = documents._SENTENCE

    def spans(text: str) -> list[tuple[int, int]]:
        sentences = [part for part in one_sentence.split(text.strip()) if part]
        return [(0, len(text))] if len(sentences) <= 1 else [(0, 1), (1, len(text))]

    text = 'He said "no." Why? Well… 犬です。海。\nNext line'
    assert cut(text, spans) == ['He said "no."', "Why?", "Well…", "犬です。", "海。", "Next line"]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab.!? \n\t。\u00a0é\"'"), max_size=200), st.integers(1, 5))
def test_no_character_but_white_space_is_lost(spans_of: Callable[[int], Spans], text: str, words: int) -> None:
    passages = documents.passages(text, spans_of(words))
    left = list(text)
    for passage in passages:
        assert passage.char_start is not None
        assert passage.char_end is not None
        assert text[passage.char_start : passage.char_end] == passage.text == passage.text.strip()
        assert len(spans_of(words)(passage.text)) == 1
        left[passage.char_start : passage.char_end] = " " * len(passage.text)
    assert not "".join(left).strip()
    starts = [passage.char_start or 0 for passage in passages]
    assert starts == sorted(starts)


def test_the_tower_is_not_asked_again_and_again_about_a_long_text(spans_of: Callable[[int], Spans]) -> None:
    asked = 0

    def spans(text: str) -> list[tuple[int, int]]:
        nonlocal asked
        asked += len(text)
        return spans_of(20)(text)

    text = "A short sentence of six words. " * 2000
    documents.passages(text, spans)
    assert asked < 10 * len(text)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "Ein Hündchen, 犬"),
        ("utf-8-sig", "Ein Hündchen"),
        ("utf-16", "Ein Hündchen, 犬"),
        ("utf-32", "Ein Hündchen, 犬"),
        ("latin-1", "El niño está en la playa con su perro."),
        ("latin-1", "un café"),
        ("cp1252", "Café — “naïve” dog"),
        ("shift_jis", "犬が浜辺を走っています。青い海と白い砂。"),
        ("cp1251", "Собака бежит по пляжу"),
        ("gb18030", "一只狗在海滩上奔跑"),
    ],
)
def test_encodings_are_detected(encoding: str, text: str) -> None:
    assert reading.text_of(text.encode(encoding)) == text


def test_utf_16_of_the_other_byte_order_is_read() -> None:
    assert reading.text_of(b"\xfe\xff\0H\0i") == "Hi"


def test_line_ends_are_evened_out() -> None:
    assert reading.text_of(b"a\r\nb\rc\n") == "a\nb\nc\n"


@pytest.mark.parametrize("data", [b"text\0with zeros", b"\x89PNG\r\n\x1a\n\xff\xfe\0\0", bytes(range(256)) * 9])
def test_binary_data_under_a_text_name_is_unreadable(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(Unreadable, match=r"^binary data, whatever its name says$"):
        documents.read(tmp_path / "a.txt")


def test_a_text_beyond_the_limit_is_unreadable(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as stream:
        stream.truncate(20_100_000)
    with pytest.raises(Unreadable, match=r"^20\.1 MB of text; the limit is 20$"):
        documents.read(tmp_path / "a.txt")


@pytest.mark.parametrize("blank", ["", " \n\t", "\ufeff"])
def test_a_blank_text_is_unreadable(tmp_path: Path, blank: str) -> None:
    (tmp_path / "a.md").write_text(blank, encoding="utf-8")
    with pytest.raises(Unreadable, match=r"^empty: it holds no text$"):
        documents.read(tmp_path / "a.md")


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.markdown"])
def test_plain_texts_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# Rex <b>barks</b>\n")
    assert documents.read(tmp_path / name) == documents.Document("# Rex <b>barks</b>\n")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("<div>One<div>Two</div>Three</div>", "One\n\nTwo\n\nThree"),
        ("<p>w<b>or</b>d, <a href=x>a\n link</a>", "word, a link"),
        ("One<br>two<br/>three", "One\ntwo\nthree"),
        ("<ul><li>One<li>Two</ul>", "One\n\nTwo"),
        ("<p>A<script>var x = '<p>no';</script>B<style>no</style>C<!-- no -->D<noscript>no</noscript>", "ABCD"),
        ("<p>&eacute;t&#233; &amp; &lt;b&gt;", "été & <b>"),
        ("<p>a&nbsp;b", "a b"),
        ("no tags at all", "no tags at all"),
        ("<p>unclosed <i>tags <b>everywhere", "unclosed tags everywhere"),
        ("<?xml version='1.0' encoding='latin-1'?><html><body>Hündchen</body></html>", "Hündchen"),
    ],
)
def test_of_a_page_only_what_a_reader_sees_is_kept(tmp_path: Path, source: str, text: str) -> None:
    assert page(tmp_path, source).text == text


def test_the_title_of_a_page_is_kept_apart(tmp_path: Path) -> None:
    document = page(tmp_path, "<html><head><title> My\n dogs </title></head><body>Rex</body></html>")
    assert document == documents.Document("Rex", "My dogs")


def test_a_page_may_declare_its_encoding(tmp_path: Path) -> None:
    source = "<meta charset=windows-1251><p>Собака бежит по пляжу"
    assert page(tmp_path, source.encode("cp1251")).text == "Собака бежит по пляжу"


def test_a_deeply_nested_page_is_read_whole(tmp_path: Path) -> None:
    assert page(tmp_path, "<div>" * 1500 + "deep" + "</div>" * 1500 + "<p>end").text == "deep\n\nend"


@pytest.mark.parametrize("source", ["", "<!-- nothing -->", "<script>x</script>", "<p> </p>"])
def test_a_page_without_words_is_unreadable(tmp_path: Path, source: str) -> None:
    with pytest.raises(Unreadable, match=r"^empty: it holds no text$"):
        page(tmp_path, source)
