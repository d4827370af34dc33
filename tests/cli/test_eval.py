"""`mmsearch eval`: a table of what search is worth on one's own captions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.models import make_tiny_model
from tests.retrieval.evaluation.test_judging import table_of

from mmsearch.cli.app import run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMSEARCH_MODEL", str(make_tiny_model(tmp_path / "tiny")))
    monkeypatch.delenv("MMSEARCH_DEVICE", raising=False)
    return tmp_path.resolve()


def test_a_line_for_each_measure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of(folder, 20)
    assert run(["eval", "--captions", str(table), "--regime", "photo", "--regime", "mixed"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[:3] for line in lines[::5]] == [["photo", "20", "R@1"], ["mixed", "20", "R@1"]]
    assert len(lines) == 10
    assert all(len(line) == 6 for line in lines)


def test_json_gives_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--captions", str(table_of(folder, 20)), "--regime", "photo", "--json"]) == 0
    first, *rest = map(json.loads, capsys.readouterr().out.splitlines())
    assert len(rest) == 4
    assert first["measure"] == "R@1"
    mean, low, high = first["cosine"]
    assert 0 <= low <= mean <= high <= 1
    assert 0 < first["p_value"] <= 1


def test_vectors_are_kept_where_asked(folder: Path) -> None:
    line = ["eval", "--captions", str(table_of(folder, 20)), "--regime", "photo", "--cache", str(folder / "kept")]
    assert run(line) == 0
    assert [file.suffix for file in (folder / "kept").iterdir()] == [".npz"]


def test_a_file_without_captions_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = folder / "c.csv"
    table.write_text("path,words\na.jpg,dog\n")
    assert run(["eval", "--captions", str(table)]) == 1
    assert capsys.readouterr().err == (
        f"error: the caption file {table} cannot be used: it lacks the column caption (or caption_1, caption_2 …); its "
        "columns are: path, words.\n"
    )


def test_an_unknown_regime_is_wrong_usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--captions", str(table_of(folder, 1)), "--regime", "movie"]) == 2
    assert "there is no regime 'movie'" in capsys.readouterr().err
