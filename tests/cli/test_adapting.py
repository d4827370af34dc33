"""`mmsearch models adapt`: what it asks for, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock, create_autospec

import pytest
from tests.models import make_tiny_model
from tests.retrieval.adapting.problems import nicknamed

from mmsearch.cli.app import run
from mmsearch.retrieval.adapting import adaptation
from mmsearch.retrieval.adapting.adaptation import Adaptation
from mmsearch.retrieval.adapting.judging import Verdict
from mmsearch.retrieval.types import Skipped

VERDICT = Verdict(photos=200, before=0.5, after=0.625, low=0.0625, high=0.1875)
DONE = Adaptation("bundled", "bundled-adapted", 1000, 5000, 2, 13, 7, VERDICT, 9.5)
GAIN = "held-out R@10 50.0 -> 62.5 %, difference 12.5 [6.2, 18.8]"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "captions.csv").touch()
    return tmp_path / "captions.csv"


@pytest.fixture
def adapt(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """In place of the real one."""
    monkeypatch.delenv("MMSEARCH_DEVICE", raising=False)
    stand_in: MagicMock = create_autospec(adaptation.adapt, return_value=DONE)
    monkeypatch.setattr(adaptation, "adapt", stand_in)
    return stand_in


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command with a tiny model, in folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MMSEARCH_MODEL", str(make_tiny_model(folder / "tiny")))
    monkeypatch.setenv("MMSEARCH_MODELS", str(folder / "models"))
    return lambda *arguments: run(["models", "adapt", *arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def options(call: MagicMock) -> dict[str, object]:
    return {name: value for name, value in call.call_args.kwargs.items() if name not in ("on_skip", "say")}


def test_every_option_is_handed_on(adapt: MagicMock, table: Path, tmp_path: Path) -> None:
    line = f"--captions {table} --model big --name mine --photos {tmp_path} --epochs 9 --seed 7 --device cpu"
    assert run(["models", "adapt", *line.split()]) == 0
    assert adapt.call_args.args == (table,)
    assert options(adapt) == {
        "model": "big",
        "name": "mine",
        "photos": tmp_path,
        "epochs": 9,
        "seed": 7,
        "device": "cpu",
    }


def test_what_is_not_said_is_left_to_the_library(adapt: MagicMock, table: Path) -> None:
    assert run(["models", "adapt", "--captions", str(table)]) == 0
    assert options(adapt) == {
        "model": None,
        "name": None,
        "photos": None,
        "epochs": adaptation.EPOCHS,
        "seed": 0,
        "device": "auto",
    }


def test_a_gain_is_told_with_the_next_command(
    adapt: MagicMock, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "adapt", "--captions", str(table)]) == 0
    assert capsys.readouterr() == (
        f"{GAIN}: added the model bundled-adapted\n",
        "to use it in a library: `mmsearch index --rebuild --model bundled-adapted`\n",
    )


def test_no_sure_gain_is_told_and_ends_well(adapt: MagicMock, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapt.return_value = replace(DONE, adapted=None)
    assert run(["models", "adapt", "--captions", str(table)]) == 0
    assert capsys.readouterr() == (f"{GAIN}: not surely better, so nothing was changed\n", "")


def test_steps_and_skips_go_to_stderr(adapt: MagicMock, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def working(captions: Path, **told: Callable[..., None]) -> Adaptation:
        told["say"]("embedding 5000 captions")
        told["on_skip"](Skipped(Path("a.jpg"), "empty"))
        return DONE

    adapt.side_effect = working
    run(["models", "adapt", "--captions", str(table)])
    assert capsys.readouterr().err.splitlines()[:2] == ["embedding 5000 captions", "skipped a.jpg: empty"]


def test_json_is_one_object(adapt: MagicMock, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "adapt", "--captions", str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "model": "bundled",
        "adapted": "bundled-adapted",
        "photos": 1000,
        "captions": 5000,
        "skipped": 2,
        "epochs": 13,
        "seed": 7,
        "seconds": 9.5,
        "held_out": 200,
        "before": 0.5,
        "after": 0.625,
        "difference": 0.125,
        "low": 0.0625,
        "high": 0.1875,
    }


def test_a_caption_file_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "adapt", "--captions", "gone.csv"]) == 2
    assert "'gone.csv' does not exist" in capsys.readouterr().err


def test_no_epochs_are_wrong_usage(adapt: MagicMock, table: Path) -> None:
    assert run(["models", "adapt", "--captions", str(table), "--epochs", "0"]) == 2
    adapt.assert_not_called()


def test_an_adapted_model_is_listed(folder: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    nicknamed(folder / "photos")
    (folder / "photos" / "captions.csv").rename(folder / "captions.csv")
    assert call("--captions", "captions.csv", "--photos", "photos", "--epochs", "80", "--json") == 0
    assert json.loads(capsys.readouterr().out)["adapted"] == "tiny-adapted"
    assert run(["models", "list", "--json"]) == 0
    card = [json.loads(line) for line in capsys.readouterr().out.splitlines()][-1]
    assert card["name"] == "tiny-adapted"
    assert card["description"].startswith("Knows seven colours; adapted to 210 photos, held-out R@10 ")


def test_too_few_photos_end_with_one_line(
    folder: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    table = nicknamed(folder / "photos", 20)
    assert call("--captions", str(table)) == 1
    assert capsys.readouterr() == (
        "",
        f"error: the caption file {table} cannot be used: it has captions for 20 photos, and adapting needs at "
        "least 200.\n",
    )


def test_a_name_that_is_taken_is_wrong_usage(folder: Path, call: Callable[..., int], table: Path) -> None:
    make_tiny_model(folder / "models" / "mine")
    assert call("--captions", str(table), "--name", "mine") == 2
