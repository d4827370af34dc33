"""What each command asks of a Library, on a stand-in that has the real one's signatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock, create_autospec

import pytest

from mmsearch.cli.app import run
from mmsearch.index.errors import BadQuery, LibraryNotFound, UsageError
from mmsearch.index.items import Failure, Root
from mmsearch.retrieval import devices, training
from mmsearch.retrieval import library as home
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.library import Library
from mmsearch.retrieval.types import Hit, Hits, IndexReport, Preprocess, Status

REPORT = IndexReport(1, 0, 0, 0, 0, 1.0)
HIT = Hit("/p/rex.jpg", "image", "image", 0.9, 1)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """What `Library.open` gives, under the name that the commands look it up by."""
    for name in ("MMSEARCH_DEVICE", "MMSEARCH_LIBRARY", "MMSEARCH_MODEL"):
        monkeypatch.delenv(name, raising=False)
    stand_in = create_autospec(Library)
    opened: MagicMock = stand_in.open.return_value
    opened.__enter__.return_value = opened
    opened.query.return_value = opened.similar.return_value = Hits([HIT])
    opened.index.return_value = opened.retry_failures.return_value = REPORT
    opened.roots.return_value = [Root(1, Path("/p"))]
    monkeypatch.setattr(home, "Library", stand_in)
    opened.opener = stand_in.open
    return opened


def test_index_hands_on_every_option(library: MagicMock, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.touch()
    line = (
        f"index {tmp_path} --library lib --model tiny --captions {table} --exclude a --exclude b "
        "--include-hidden --batch-size 3 --workers 2 --device cuda:1 --max-megapixels 7.5 --rebuild"
    )
    assert run(line.split()) == 0
    library.opener.assert_called_once_with(Path("lib"), model="tiny", device="cuda:1", create=True, switch_model=True)
    ((paths,), options) = library.index.call_args
    assert paths == [tmp_path]
    assert {name: value for name, value in options.items() if not name.startswith("on_")} == {
        "captions": [table],
        "exclude": ["a", "b"],
        "include_hidden": True,
        "batch_size": 3,
        "workers": 2,
        "max_megapixels": 7.5,
        "rebuild": True,
    }


@pytest.mark.parametrize(("option", "switches"), [("", False), ("--rebuild", True), ("--model x", False)])
def test_only_rebuild_switches_the_model(library: MagicMock, tmp_path: Path, option: str, switches: bool) -> None:
    assert run(["index", str(tmp_path), *option.split()]) == 0
    assert library.opener.call_args.kwargs["switch_model"] is switches


def test_index_without_paths_makes_no_library(library: MagicMock) -> None:
    assert run(["index"]) == 0
    assert library.opener.call_args.kwargs["create"] is False
    assert library.index.call_args.args == ((),)


def test_index_without_paths_or_roots_asks_for_a_folder(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    library.roots.return_value = []
    assert run(["index"]) == 2
    assert capsys.readouterr() == (
        "",
        "error: this library has no roots yet; name a folder: `mmsearch index PATH`.\n",
    )


def test_index_ends_with_its_summary_on_stdout(
    library: MagicMock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["index", str(tmp_path)])
    assert capsys.readouterr() == (
        "1 added, 0 changed, 0 removed, 0 unchanged, 0 skipped in 1.0 s (1.0 items/s)\n",
        "",
    )


def test_index_refuses_a_path_that_is_not_there(
    library: MagicMock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["index", str(tmp_path / "gone")]) == 2
    assert "does not exist" in capsys.readouterr().err
    library.opener.assert_not_called()


def test_query_hands_on_every_option(library: MagicMock) -> None:
    line = (
        "query dog -k 3 --library lib --kind audio --kind image --path */a/* --after 2024 "
        "--before 2024-06-01 --min-score 0.5 --min-prob 0.25 --explain --no-rerank --offset 4 --allow-url -f"
    )
    assert run(line.split()) == 0
    library.opener.assert_called_once_with(Path("lib"), device="auto", create=False)
    library.query.assert_called_once_with(
        "dog",
        3,
        kinds=("image", "audio"),
        path_glob="*/a/*",
        after="2024",
        before="2024-06-01",
        min_score=0.5,
        min_prob=0.25,
        rerank=False,
        explain=True,
        offset=4,
        allow_url=True,
    )


def test_query_alone_asks_for_ten_and_fetches_nothing(library: MagicMock) -> None:
    assert run(["query", "dog"]) == 0
    library.opener.assert_called_once_with(None, device="auto", create=False)
    library.query.assert_called_once_with(
        "dog",
        10,
        kinds=(),
        path_glob=None,
        after=None,
        before=None,
        min_score=None,
        min_prob=None,
        rerank=True,
        explain=False,
        offset=0,
        allow_url=False,
    )


def test_the_environment_names_the_device_of_a_query(library: MagicMock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_DEVICE", "cuda:2")
    assert run(["query", "dog"]) == 0
    assert library.opener.call_args.kwargs["device"] == "cuda:2"


@pytest.mark.parametrize(
    ("option", "written"),
    [
        ("", "0.900\t/p/rex.jpg\n"),
        ("-f", "/p/rex.jpg\n"),
        ("--filepath-only", "/p/rex.jpg\n"),
        ("-0", "/p/rex.jpg\0"),
    ],
)
def test_query_writes_in_the_form_asked_for(
    library: MagicMock, capsys: pytest.CaptureFixture[str], option: str, written: str
) -> None:
    assert run(["query", "dog", *option.split()]) == 0
    assert capsys.readouterr() == (written, "")


@pytest.mark.parametrize("command", ["query", "similar"])
@pytest.mark.parametrize(
    "wrong",
    [
        "-k 0",
        "--offset -1",
        "--kind video",
        "--after 2024-5",
        "--json --csv",
        "--min-score x",
        "--min-prob 1.5",
        "--what",
    ],
)
def test_wrong_usage_exits_2_before_the_library_is_asked(
    library: MagicMock, capsys: pytest.CaptureFixture[str], command: str, wrong: str
) -> None:
    assert run([command, "dog", *wrong.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error: " in captured.err
    library.query.assert_not_called()
    library.similar.assert_not_called()


def test_similar_hands_on_every_option(library: MagicMock) -> None:
    line = (
        "similar ./a.jpg -k 3 --kind text --path x --after 2024 --before 2025 --min-score 0.1 --offset 2 --no-rerank -0"
    )
    assert run(line.split()) == 0
    library.similar.assert_called_once_with(
        Path("a.jpg"),
        3,
        kinds=("text",),
        path_glob="x",
        after="2024",
        before="2025",
        min_score=0.1,
        min_prob=None,
        rerank=False,
        explain=False,
        offset=2,
    )


STATUS = Status(
    path=Path("/lib"),
    model="tiny",
    fingerprint="f" * 8,
    dim=32,
    roots=[Path("/p")],
    items={"image": 2, "text": 0, "audio": 1},
    rows={"image": 2, "caption": 1},
    searched_by={"image": "codes (asked for)", "caption": "scan (1 rows are few)"},
    failures=4,
    uncaptioned=[Path("/p/a\x1b.wav")],
    size_bytes=1_250_000,
)


def test_status_says_what_the_library_holds(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    library.status.return_value = STATUS
    assert run(["status"]) == 0
    assert capsys.readouterr().out == (
        "library     /lib (1.2 MB)\n"
        "model       tiny (32 dimensions)\n"
        "items       2 image, 1 audio\n"
        "rows        2 image, 1 caption\n"
        "searched by image: codes (asked for)\n"
        "searched by caption: scan (1 rows are few)\n"
        "failures    4\n"
        "root        /p\n"
        "no caption  /p/a\\x1b.wav\n"
    )


def test_status_as_json_has_every_field(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    library.status.return_value = STATUS
    assert run(["status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert set(status) == set(Status.__dataclass_fields__)
    assert status["uncaptioned"] == ["/p/a\x1b.wav"]


def test_forget_says_how_many(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    library.forget.return_value = 3
    assert run(["forget", "a.jpg", "b"]) == 0
    library.forget.assert_called_once_with([Path("a.jpg"), Path("b")])
    assert capsys.readouterr() == ("3 forgotten\n", "")


@pytest.mark.parametrize("line", ["roots", "roots list"])
def test_roots_are_listed(library: MagicMock, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert run(line.split()) == 0
    assert capsys.readouterr().out == "/p\n"
    library.move_root.assert_not_called()


def test_a_root_is_moved(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    library.move_root.return_value = Root(1, Path("/new"))
    assert run(["roots", "move", "/p", "/new", "--json"]) == 0
    library.move_root.assert_called_once_with(Path("/p"), Path("/new"))
    assert capsys.readouterr().out == '{"root": "/new"}\n'


@pytest.mark.parametrize("line", ["roots move", "roots move a", "roots move a b c", "roots list a", "roots add a"])
def test_any_other_action_on_roots_is_wrong_usage(
    library: MagicMock, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert run(line.split()) == 2
    assert capsys.readouterr() == (
        "",
        "error: write `mmsearch roots list` or `mmsearch roots move OLD NEW`.\n",
    )


def test_failures_are_listed_with_their_reasons(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    library.failures.return_value = [Failure(Path("/p/x.jpg"), "it is empty", "2024-05-01T12:00:00")]
    assert run(["failures"]) == 0
    assert capsys.readouterr().out == "/p/x.jpg\tit is empty\t2024-05-01T12:00:00\n"
    library.retry_failures.assert_not_called()


def test_failures_are_tried_again(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["failures", "--retry", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 1
    library.failures.assert_not_called()


def test_a_whole_library_verifies(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    library.verify.return_value = []
    assert run(["verify"]) == 0
    assert capsys.readouterr() == ("", "no problems found.\n")


def test_problems_are_named_and_exit_1(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    library.verify.return_value = ["row 3 has no item", "a snapshot is damaged"]
    assert run(["verify"]) == 1
    assert capsys.readouterr() == (
        "row 3 has no item\na snapshot is damaged\n",
        "mend it with `mmsearch repair`.\n",
    )


@pytest.mark.parametrize(
    ("mended", "written"), [([], ("", "nothing to mend.\n")), (["index rebuilt"], ("index rebuilt\n", ""))]
)
def test_repair_says_what_it_mended(
    library: MagicMock, capsys: pytest.CaptureFixture[str], mended: list[str], written: tuple[str, str]
) -> None:
    library.repair.return_value = mended
    assert run(["repair"]) == 0
    assert capsys.readouterr() == written


@pytest.mark.parametrize(
    ("error", "code", "written"),
    [
        (
            LibraryNotFound(path=Path("/l")),
            1,
            "there is no library at /l; make one with `mmsearch index PATH`.",
        ),
        (BadQuery("nothing to look for"), 1, "nothing to look for"),
        (UsageError("no such thing\x1b"), 2, "no such thing\\x1b"),
        (PermissionError(13, "Permission denied", "/l"), 1, "[Errno 13] Permission denied: '/l'"),
        (KeyError("x"), 1, "KeyError: 'x' (a bug; `mmsearch --debug ...` shows where)"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_an_exit_code(
    library: MagicMock, capsys: pytest.CaptureFixture[str], error: Exception, code: int, written: str
) -> None:
    library.query.side_effect = error
    assert run(["query", "dog"]) == code
    assert capsys.readouterr() == ("", f"error: {written}\n")


def test_debug_shows_the_traceback_as_well(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    library.query.side_effect = BadQuery("nothing to look for")
    assert run(["--debug", "query", "dog"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.endswith("error: nothing to look for\n")


def test_ctrl_c_exits_130_without_a_word(library: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    library.query.side_effect = KeyboardInterrupt
    assert run(["query", "dog"]) == 130
    assert capsys.readouterr() == ("", "")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from mmsearch import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr() == (f"mmsearch {__version__}\n", "")


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("missing", 0), ("broken", 1)])
def test_doctor_exits_1_only_if_something_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: devices.State, code: int
) -> None:
    monkeypatch.setattr(devices, "diagnose", lambda: [devices.Finding("faiss", state, "why")])
    assert run(["doctor", "--json"]) == code
    assert capsys.readouterr().out == f'{{"what": "faiss", "state": "{state}", "detail": "why"}}\n'


def test_training_prints_where_the_model_is_and_tells_its_progress_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def train(config: Path, *, out: Path | None, device: str, progress: Callable[[str], None]) -> Path:
        progress(f"step 1 of {config.name} on {device}")
        return out or Path("elsewhere")

    (tmp_path / "a.toml").touch()
    monkeypatch.setattr(training, "train_towers", train)
    assert run(["train", "towers", "--config", str(tmp_path / "a.toml"), "--out", "m", "--device", "cpu"]) == 0
    assert capsys.readouterr() == ("m\n", "step 1 of a.toml on cpu\n")


def test_models_are_listed_and_removed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    card = ModelCard("ViT", 512, "f00", Preprocess(size=224), 77, "a model", "MIT")
    removed: list[str] = []
    monkeypatch.setattr(registry, "available", lambda: [card])
    monkeypatch.setattr(registry, "remove", removed.append)
    assert run(["models", "list"]) == 0
    assert run(["models", "remove", "ViT"]) == 0
    assert capsys.readouterr() == ("ViT\t512\ta model\tMIT\tf00\n", "")
    assert removed == ["ViT"]
