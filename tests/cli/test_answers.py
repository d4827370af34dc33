from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
import typer

from mmsearch.cli.answers import Form, chosen_form, hit_line, hits_table, matched, show_hits, stretch
from mmsearch.retrieval.types import Hit, Hits

PHOTO = Hit(
    "/p/rex.jpg",
    "image",
    "image",
    2.5,
    1,
    signals={"image": 0.31, "bm25": 0.0},
    probability=0.9126,
    contributions={"base": 1.5, "image.hub": 1.0},
    method="exact",
    reasons=("its photo is close in meaning +1.50", "its photo answers to little else +1.00"),
)
CLIP = Hit(
    "/p/rain.wav",
    "audio",
    "audio_caption",
    0.0,
    2,
    12.4,
    75.0,
    "rain\n on a [roof]",
    {"image": -1.0},
    probability=0.5,
    contributions={"base": 0.0},
    method="exact",
    reasons=("it is\ttold",),
)


def written(hits: list[Hit], form: Form, capsys: pytest.CaptureFixture[str], *, explain: bool = False) -> str:
    show_hits(Hits(hits, 0.75), form, explain=explain)
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_a_pipe_gets_probability_and_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert written([PHOTO, CLIP], Form.TSV, capsys) == "0.913\t/p/rex.jpg\n0.500\t/p/rain.wav\n"


def test_a_tab_in_a_path_does_not_make_a_third_cell() -> None:
    assert hit_line(Hit("/p/a\tb\n.jpg", "image", "image", 0.5, 1), explain=False) == "0.500\t/p/a\\tb\\n.jpg"


def test_an_answer_without_a_probability_has_its_score(capsys: pytest.CaptureFixture[str]) -> None:
    assert written([replace(PHOTO, probability=None)], Form.TSV, capsys) == "2.500\t/p/rex.jpg\n"


def test_an_explained_line_ends_with_the_reasons() -> None:
    line = hit_line(PHOTO, explain=True)
    assert line == "0.913\t/p/rex.jpg\tits photo is close in meaning +1.50\tits photo answers to little else +1.00"
    assert hit_line(CLIP, explain=True) == "0.500\t/p/rain.wav\tit is\\ttold"


@pytest.mark.parametrize("form", Form)
def test_no_good_match_is_said_on_stderr_and_the_answers_are_given(
    form: Form, capsys: pytest.CaptureFixture[str]
) -> None:
    show_hits(Hits([PHOTO], 0.01), form)
    captured = capsys.readouterr()
    assert "/p/rex.jpg" in captured.out
    assert captured.err == "no good match; the nearest are shown.\n"


def test_json_has_exactly_the_published_fields_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    lines = written([PHOTO, CLIP], Form.JSON, capsys).splitlines()
    assert list(json.loads(lines[0])) == [
        "rank", "score", "probability", "path", "kind", "view", "start_s", "end_s", "snippet", "signals", "fits",
    ]  # fmt: skip
    assert json.loads(lines[1]) == {
        "rank": 2, "score": 0.0, "probability": 0.5, "path": "/p/rain.wav", "kind": "audio", "view": "audio_caption",
        "start_s": 12.4, "end_s": 75.0, "snippet": "rain\n on a [roof]", "signals": {"image": -1.0},
        "fits": 0.75,
    }  # fmt: skip


def test_explained_json_has_numbers_method_and_words(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(written([PHOTO], Form.JSON, capsys, explain=True))
    assert told["contributions"] == {"base": 1.5, "image.hub": 1.0}
    assert told["method"] == "exact"
    assert told["reasons"] == ["its photo is close in meaning +1.50", "its photo answers to little else +1.00"]


def test_csv_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(written([PHOTO, CLIP], Form.CSV, capsys))))
    assert list(rows[0]) == [
        "rank", "score", "probability", "path", "kind", "view", "start_s", "end_s", "snippet", "fits",
    ]  # fmt: skip
    assert rows[1]["snippet"] == CLIP.snippet
    assert rows[0]["start_s"] == ""


def test_an_explained_csv_has_a_column_for_each_signal_and_contribution(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(written([PHOTO, CLIP], Form.CSV, capsys, explain=True))))
    assert [row["signal.bm25"] for row in rows] == ["0.0", ""]
    assert [row["signal.image"] for row in rows] == ["0.31", "-1.0"]
    assert [row["contribution.image.hub"] for row in rows] == ["1.0", ""]


def test_bare_paths_are_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert written([PHOTO, CLIP], Form.PATHS, capsys) == "/p/rex.jpg\n/p/rain.wav\n"


def test_nul_ends_each_path_and_changes_none(capsys: pytest.CaptureFixture[str]) -> None:
    odd = Hit("/p/a\x1b b.jpg", "image", "image", 0.1, 1)
    assert written([odd, CLIP], Form.PATHS_NUL, capsys) == "/p/a\x1b b.jpg\0/p/rain.wav\0"


@pytest.mark.parametrize("form", Form)
def test_without_hits_only_stderr_says_so(form: Form, capsys: pytest.CaptureFixture[str]) -> None:
    show_hits(Hits(), form)
    assert capsys.readouterr() == ("", "nothing found.\n")


def table_lines(hits: list[Hit], width: int, *, explain: bool = False) -> list[str]:
    from rich.console import Console

    buffer = io.StringIO()
    Console(file=buffer, width=width).print(hits_table(hits, explain=explain))
    return [line.rstrip() for line in buffer.getvalue().splitlines()]


def test_the_table_shows_probability_path_and_what_matched() -> None:
    assert table_lines([PHOTO, CLIP], 80) == [
        "prob.  path",
        "0.913  /p/rex.jpg",
        "0.500  /p/rain.wav",
        "       0:12-1:15 rain on a [roof]",
    ]


def test_a_table_without_probabilities_shows_scores() -> None:
    assert table_lines([replace(PHOTO, probability=None)], 80) == ["score  path", "2.500  /p/rex.jpg"]


def test_an_explained_table_has_the_reasons_below_the_path() -> None:
    assert table_lines([PHOTO], 80, explain=True)[1:] == [
        "0.913  /p/rex.jpg",
        "       its photo is close in meaning +1.50",
        "       its photo answers to little else +1.00",
    ]


def test_a_long_snippet_is_cut_to_one_line_and_the_path_is_not() -> None:
    path = "/" + "x" * 150 + ".jpg"
    lines = table_lines([Hit(path, "image", "caption", 0.5, 1, snippet="word " * 99)], 80)
    assert all(len(line) <= 80 for line in lines)
    assert "".join(line[7:] for line in lines[1:-1]) == path
    assert lines[-1].endswith("…")


def test_control_characters_in_a_snippet_are_escaped() -> None:
    assert matched(Hit("/a", "text", "text", 0.5, 1, snippet="a\x1b[2J\x07")) == "a\\x1b[2J\\x07"


@pytest.mark.parametrize(
    ("start_s", "end_s", "shown"),
    [(None, None, ""), (0.0, None, "0:00"), (59.9, 60.0, "0:59-1:00"), (3600.0, 3725.0, "60:00-62:05")],
)
def test_a_stretch_is_in_minutes_and_seconds(start_s: float | None, end_s: float | None, shown: str) -> None:
    assert stretch(start_s, end_s) == shown


def form_of(*names: str) -> Form:
    return chosen_form(**{name: name in names for name in ("as_json", "as_csv", "paths", "paths_nul")})


def test_a_pipe_gets_tsv_and_an_option_wins_over_that() -> None:
    assert form_of() is Form.TSV
    assert form_of("as_json") is Form.JSON
    assert form_of("as_csv") is Form.CSV
    assert form_of("paths") is Form.PATHS
    assert form_of("paths_nul") is Form.PATHS_NUL


def test_nul_and_paths_only_go_together() -> None:
    assert form_of("paths", "paths_nul") is Form.PATHS_NUL


@pytest.mark.parametrize("names", [("as_json", "as_csv"), ("as_json", "paths"), ("as_csv", "paths_nul")])
def test_two_forms_at_once_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(typer.BadParameter, match=r"choose one\."):
        form_of(*names)
