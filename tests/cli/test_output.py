from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.cli.output import (
    csv_lines,
    emit,
    json_line,
    printable,
    record_table,
    show,
    shown_path,
    tsv_line,
)


@given(st.text())
def test_a_printable_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)
    assert not set(shown) & set("\u2028\u2029\u202e\u2066")
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_a_harmless_text_is_printed_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_a_turned_reading_direction_is_shown_as_an_escape() -> None:
    assert printable("a\u202egpj.exe") == "a\\u202egpj.exe"


def test_a_path_below_the_current_directory_is_shown_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "beach" / "rex.jpg") == "beach/rex.jpg"


def test_a_path_beside_the_current_directory_is_shown_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert shown_path(tmp_path / "here2" / "a.jpg") == str(tmp_path / "here2" / "a.jpg")


@given(st.lists(st.text(), min_size=1))
def test_a_tsv_line_has_one_cell_for_each_value(values: list[str]) -> None:
    line = tsv_line(values)
    assert line.count("\t") == len(values) - 1
    assert len(line.splitlines()) <= 1


def test_a_number_that_is_not_finite_is_null_in_json() -> None:
    record = {"signals": {"bm25": math.nan, "image": 0.5}, "ends": [math.inf, 1]}
    assert json.loads(json_line(record)) == {"signals": {"bm25": None, "image": 0.5}, "ends": [None, 1]}


def test_json_writes_paths_and_letters_as_they_are() -> None:
    assert json_line({"path": Path("/ß/日.jpg")}) == '{"path": "/ß/日.jpg"}'


def test_csv_quotes_what_would_break_a_line() -> None:
    records = [{"path": "a,b.jpg", "snippet": 'say "cheese"\nplease', "end_s": None}]
    assert csv_lines(records, ["path", "snippet", "end_s"]) == [
        'path,snippet,end_s\n"a,b.jpg","say ""cheese""\nplease",'
    ]


def test_no_records_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show([])
    show([], as_json=True)
    assert capsys.readouterr().out == ""


def test_records_in_a_pipe_are_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"root": Path("/a"), "items": 3}, {"root": Path("/b"), "items": None}])
    assert capsys.readouterr().out == "/a\t3\n/b\t\n"


def test_records_as_json_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"root": Path("/a")}, {"root": Path("/b")}], as_json=True)
    assert capsys.readouterr().out == '{"root": "/a"}\n{"root": "/b"}\n'


def test_names_in_a_table_are_not_markup() -> None:
    from rich.console import Console

    buffer = io.StringIO()
    Console(file=buffer, width=60).print(record_table([{"path": "[bold]x[/bold] :smile: [/]"}]))
    assert buffer.getvalue().splitlines()[1].strip() == "[bold]x[/bold] :smile: [/]"


def test_what_is_emitted_ends_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    emit(["a", "b"], end="\0")
    assert capsys.readouterr().out == "a\0b\0"


def test_a_terminal_gets_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    show([{"root": Path("/a")}])
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == ["root", "/a"]
