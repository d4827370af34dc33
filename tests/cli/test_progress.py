from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from mmsearch.cli.progress import finish, skip_count, watched
from mmsearch.retrieval.types import IndexReport, Progress, Skipped

REPORT = IndexReport(412, 9, 3, 120, 1, 38.2, (Skipped(Path("/p/07.tif"), "412 megapixels"),))


def test_the_last_line_says_what_a_run_did(capsys: pytest.CaptureFixture[str]) -> None:
    finish(REPORT, as_json=False)
    assert capsys.readouterr() == (
        "412 added, 9 changed, 3 removed, 120 unchanged, 1 skipped in 38.2 s (11.0 items/s)\n",
        "",
    )


def test_the_last_line_says_how_busy_a_gpu_was(capsys: pytest.CaptureFixture[str]) -> None:
    finish(replace(REPORT, device_busy=0.0437), as_json=False)
    assert capsys.readouterr().out.endswith("in 38.2 s (11.0 items/s, GPU 4% busy)\n")


def test_json_gives_a_run_as_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    finish(REPORT, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "added": 412,
        "changed": 9,
        "removed": 3,
        "unchanged": 120,
        "skipped": 1,
        "seconds": 38.2,
        "items_per_second": 421 / 38.2,
        "interrupted": False,
        "device_busy": None,
        "failures": [{"path": "/p/07.tif", "reason": "412 megapixels"}],
    }


def test_an_interrupted_run_still_says_what_it_did_and_exits_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        finish(IndexReport(1, 0, 0, 0, 0, 2.0, interrupted=True), as_json=False)
    assert ended.value.exit_code == 130
    assert capsys.readouterr() == (
        "1 added, 0 changed, 0 removed, 0 unchanged, 0 skipped in 2.0 s (0.5 items/s)\n",
        "interrupted: what was done is kept; the same command goes on from here.\n",
    )


def test_off_a_terminal_skips_are_plain_lines_on_stderr_and_there_is_no_bar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with watched() as (on_progress, on_skip):
        assert on_progress is None
        on_skip(Skipped(Path("/p/[red]x\x1b.jpg"), "not a photo; " + "long " * 40))
    long = "long " * 40
    assert capsys.readouterr() == ("", f"skipped /p/[red]x\\x1b.jpg: not a photo; {long}\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_counts_and_skips_stay_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with watched() as (on_progress, on_skip):
        assert on_progress is not None
        on_progress(Progress(0, None))
        on_progress(Progress(3, 7, skipped=2))
        on_skip(Skipped(Path("/p/[red]x\x1b.jpg"), "not a photo"))
    assert "3/7" in terminal.getvalue()
    assert "2 skipped" in terminal.getvalue()
    assert "skipped /p/[red]x\\x1b.jpg: not a photo\n" in terminal.getvalue()


def test_a_run_without_skips_does_not_count_them() -> None:
    assert skip_count(Progress(3, 7)) == ""
