"""The command over real files, with the tiny model: as a process of its own, and in detail inside this one."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from tests.models import make_tiny_model

from mmsearch.cli.app import run
from mmsearch.cli.contact_sheet import write_contact_sheet

Command = Callable[..., "Result"]


@dataclass(frozen=True)
class Result:
    """What one call of the command wrote."""

    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def settings(folder: Path, model: Path) -> dict[str, str]:
    """The environment of a command whose library is in folder."""
    return {
        "MMSEARCH_LIBRARY": str(folder / "lib"),
        "MMSEARCH_MODEL": str(model),
        "MMSEARCH_MODELS": str(folder / "models"),
        "OMP_NUM_THREADS": "1",
    }


def process_in(folder: Path, model: Path) -> Command:
    """The command as a process of its own."""

    def call(*arguments: str, code: int = 0, **changes: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "mmsearch", *arguments],
            cwd=folder,
            env=dict(os.environ) | settings(folder, model) | changes,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert done.returncode == code, done.stderr
        return Result(done.stdout, done.stderr)

    return call


@pytest.fixture
def call_in(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path], Command]:
    """The command inside this process, which saves starting one for each test."""

    def bind(folder: Path) -> Command:
        monkeypatch.chdir(folder)
        for name, value in settings(folder, model).items():
            monkeypatch.setenv(name, value)

        def call(*arguments: str, code: int = 0) -> Result:
            capsys.readouterr()
            ended = run(arguments)
            written = Result(*capsys.readouterr())
            assert ended == code, written.stderr
            return written

        return call

    return bind


def fill(folder: Path) -> None:
    """Two photos, a document and a broken file."""
    (folder / "p" / "sea").mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(folder / "p" / "red.png")
    Image.new("RGB", (64, 48), "blue").save(folder / "p" / "sea" / "blue [b] é.jpg")
    (folder / "p" / "note.txt").write_text("green green green")
    (folder / "p" / "broken.jpg").write_text("this is no photo")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with an indexed library that no test changes."""
    folder = tmp_path_factory.mktemp("indexed").resolve()
    fill(folder)
    process_in(folder, model)("index", "p")
    return folder


@pytest.fixture
def shared(indexed: Path, call_in: Callable[[Path], Command]) -> tuple[Path, Command]:
    return indexed, call_in(indexed)


@pytest.fixture
def own(tmp_path: Path, call_in: Callable[[Path], Command]) -> tuple[Path, Command]:
    """A folder with an indexed library that a test may change."""
    folder = tmp_path.resolve()
    fill(folder)
    call = call_in(folder)
    call("index", "p")
    return folder, call


def test_every_command_runs_as_a_process_of_its_own(tmp_path: Path, model: Path) -> None:
    folder = tmp_path.resolve()
    fill(folder)
    call = process_in(folder, model)
    red = str(folder / "p" / "red.png")
    assert call("index", "p").stdout.startswith("3 added, ")
    assert call("query", "red", "-k", "1", "-f") == Result(f"{red}\n", "")
    assert red not in call("similar", "p/red.png", "-f").stdout
    assert call("status").stdout.startswith("library     lib (")
    assert call("failures").stdout.startswith(f"{folder / 'p' / 'broken.jpg'}\t")
    assert call("forget", "p/red.png") == Result("1 forgotten\n", "")
    assert call("roots") == Result(f"{folder / 'p'}\n", "")
    assert call("verify") == Result("", "no problems found.\n")
    assert call("repair") == Result("", "nothing to mend.\n")
    assert call("models", "list").stdout.startswith("bundled\t")
    assert call("query", "red", "--after", "x", code=2).stdout == ""
    assert call("query", "red", "--library", "nowhere", code=1).stdout == ""


def test_index_counts_on_stdout_and_names_skips_on_stderr(tmp_path: Path, call_in: Callable[[Path], Command]) -> None:
    fill(tmp_path)
    done = call_in(tmp_path)("index", "p")
    assert done.stdout.startswith("3 added, 0 changed, 0 removed, 0 unchanged, 1 skipped in ")
    assert done.stdout.count("\n") == 1
    assert done.stderr.startswith("skipped p/broken.jpg: ")
    assert done.stderr.count("\n") == 1


def test_a_second_index_finds_nothing_to_do(own: tuple[Path, Command]) -> None:
    _, call = own
    report = json.loads(call("index", "p", "--json").stdout)
    assert (report["added"], report["changed"], report["removed"], report["unchanged"]) == (0, 0, 0, 3)


def test_index_without_a_path_takes_all_roots_again(own: tuple[Path, Command]) -> None:
    folder, call = own
    Image.new("RGB", (64, 48), "white").save(folder / "p" / "white.png")
    (folder / "p" / "red.png").unlink()
    report = json.loads(call("index", "--json").stdout)
    assert (report["added"], report["removed"], report["unchanged"]) == (1, 1, 2)


def test_query_prints_score_and_absolute_path_best_first(shared: tuple[Path, Command]) -> None:
    folder, call = shared
    done = call("query", "red")
    score, path = done.stdout.splitlines()[0].split("\t")
    assert path == str(folder / "p" / "red.png")
    assert 0 <= float(score) <= 1
    assert done.stderr == ""


def test_query_options_narrow_the_answers(shared: tuple[Path, Command]) -> None:
    folder, call = shared
    blue = str(folder / "p" / "sea" / "blue [b] é.jpg")
    assert call("query", "red", "--path", "*/sea/*", "-f").stdout == f"{blue}\n"
    assert call("query", "blue", "-k", "1", "-0").stdout == f"{blue}\0"
    assert call("query", "red", "--kind", "text", "-f").stdout == f"{folder / 'p' / 'note.txt'}\n"
    first, second = call("query", "red", "-k", "2", "-f").stdout.splitlines()
    assert call("query", "red", "-k", "1", "--offset", "1", "-f").stdout == f"{second}\n"
    assert first != second


def test_a_query_that_nothing_fits_prints_nothing(shared: tuple[Path, Command]) -> None:
    done = shared[1]("query", "red", "--before", "1970")
    assert (done.stdout, done.stderr) == ("", "nothing found.\n")


def test_json_and_csv_read_back(shared: tuple[Path, Command]) -> None:
    _, call = shared
    hits = [json.loads(line) for line in call("query", "blue", "--json").stdout.splitlines()]
    rows = list(csv.DictReader(io.StringIO(call("query", "blue", "--csv").stdout)))
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    assert [row["path"] for row in rows] == [hit["path"] for hit in hits]
    assert list(hits[0]) == [
        "rank", "score", "probability", "path", "kind", "view", "start_s", "end_s", "snippet", "signals", "fits",
    ]  # fmt: skip


def test_explain_adds_reasons_in_words(shared: tuple[Path, Command]) -> None:
    _, call = shared
    line = call("query", "blue sea", "-k", "1", "--explain").stdout.rstrip("\n")
    reasons = json.loads(call("query", "blue sea", "-k", "1", "--explain", "--json").stdout)["reasons"]
    assert line.split("\t")[2:] == reasons
    assert any("its name (or title, or tags) shares the words 'blue', 'sea'" in reason for reason in reasons)


def test_a_picture_is_a_query(shared: tuple[Path, Command]) -> None:
    folder, call = shared
    assert call("query", "./p/red.png", "-k", "1", "-f").stdout == f"{folder / 'p' / 'red.png'}\n"


def test_similar_leaves_out_the_file_itself(shared: tuple[Path, Command]) -> None:
    folder, call = shared
    paths = call("similar", "p/red.png", "-f").stdout.splitlines()
    assert paths
    assert str(folder / "p" / "red.png") not in paths


def test_an_address_is_not_fetched_unasked(shared: tuple[Path, Command]) -> None:
    done = shared[1]("query", "http://127.0.0.1/x.jpg", code=1)
    assert done.stdout == ""
    assert "--allow-url" in done.stderr


def test_a_reader_that_has_seen_enough_ends_the_query_quietly(indexed: Path, model: Path) -> None:
    quiet = 'set -o pipefail; "$0" -u -m mmsearch query red | true'
    done = subprocess.run(
        ["bash", "-c", quiet, sys.executable],
        cwd=indexed,
        env=dict(os.environ) | settings(indexed, model),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_pipe_gets_utf8_in_any_locale(indexed: Path, model: Path) -> None:
    call = process_in(indexed, model)
    assert "é" in call("query", "blue", "-k", "1", PYTHONIOENCODING="ascii", LC_ALL="C").stdout


def test_status_names_what_is_there(shared: tuple[Path, Command]) -> None:
    folder, call = shared
    assert "items       2 image, 1 text\n" in call("status").stdout
    status = json.loads(call("status", "--json").stdout)
    assert status["items"]["image"] == 2
    assert status["roots"] == [str(folder / "p")]
    assert status["failures"] == 1


def test_forgotten_files_do_not_answer(own: tuple[Path, Command]) -> None:
    folder, call = own
    assert call("forget", "p/red.png").stdout == "1 forgotten\n"
    assert str(folder / "p" / "red.png") not in call("query", "red", "-f").stdout


def test_a_moved_root_is_not_read_again(own: tuple[Path, Command]) -> None:
    folder, call = own
    shutil.move(folder / "p", folder / "q")
    assert call("roots", "move", "p", "q").stdout == f"{folder / 'q'}\n"
    assert call("roots").stdout == f"{folder / 'q'}\n"
    assert json.loads(call("index", "--json").stdout)["unchanged"] == 3


def test_failures_are_listed_and_tried_again(own: tuple[Path, Command]) -> None:
    folder, call = own
    assert call("failures").stdout.startswith(f"{folder / 'p' / 'broken.jpg'}\t")
    Image.new("RGB", (64, 48), "black").save(folder / "p" / "broken.jpg")
    assert json.loads(call("failures", "--retry", "--json").stdout)["added"] == 1
    assert call("failures").stdout == ""


def test_a_damaged_library_is_reported_and_mended(own: tuple[Path, Command]) -> None:
    folder, call = own
    assert call("verify").stderr == "no problems found.\n"
    call("query", "red")
    snapshots = [file for file in (folder / "lib" / "vectors").rglob("*") if file.is_file()]
    assert snapshots
    for snapshot in snapshots:
        snapshot.write_bytes(b"damaged")
    assert call("verify", code=1).stdout
    assert call("repair").stdout
    call("verify")


def test_a_library_that_is_not_there_is_not_made_by_asking(tmp_path: Path, call_in: Callable[[Path], Command]) -> None:
    done = call_in(tmp_path)("query", "red", code=1)
    assert done.stderr == f"error: there is no library at {tmp_path / 'lib'}; make one with `mmsearch index PATH`.\n"
    assert list(tmp_path.iterdir()) == []


def test_the_library_option_wins_over_the_environment(tmp_path: Path, call_in: Callable[[Path], Command]) -> None:
    fill(tmp_path)
    call = call_in(tmp_path)
    call("index", "p", "--library", "other")
    assert (tmp_path / "other").is_dir()
    assert not (tmp_path / "lib").exists()
    assert call("query", "red", "--library", "other", "-k", "1", "-f").stdout.endswith("red.png\n")


def test_an_unknown_model_is_not_removed(shared: tuple[Path, Command]) -> None:
    done = shared[1]("models", "remove", "nonesuch", code=1)
    assert done.stderr.startswith("error: there is no model 'nonesuch'; ")


def test_a_training_needs_its_file(tmp_path: Path, call_in: Callable[[Path], Command]) -> None:
    done = call_in(tmp_path)("train", "towers", "--config", "gone.toml", code=2)
    assert "does not exist" in done.stderr


def test_a_contact_sheet_is_written(
    shared: tuple[Path, Command], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "answers.html"
    write_contact_sheet(["red", "blue"], page)
    assert capsys.readouterr().out == f"{page}\n"
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == 4


def test_a_ready_model_is_added_and_removed(tmp_path: Path, model: Path, call_in: Callable[[Path], Command]) -> None:
    call = call_in(tmp_path)
    done = call("models", "add", str(model), "--name", "mine")
    assert done.stdout.startswith("mine\t32\t")
    assert done.stderr == "copying\n"
    assert call("models", "list").stdout.splitlines()[1].startswith("mine\t")
    assert call("models", "add", str(model), "--name", "mine", code=2).stdout == ""
    call("models", "remove", "mine")
    assert len(call("models", "list").stdout.splitlines()) == 1
