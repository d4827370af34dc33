"""`mmsearch feedback`, over a real library with a model that knows seven colours."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.models import make_tiny_model

from mmsearch import Library
from mmsearch.cli.app import run
from mmsearch.cli.feedback import one_by_one

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def indexed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos beside their library, to be copied: that is quicker than to make one."""
    folder = tmp_path_factory.mktemp("indexed").resolve()
    (folder / "p").mkdir()
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (8, 8), colour).save(folder / "p" / f"{colour}.png")
    with Library.open(folder / "lib", model=str(model)) as library:
        library.index([folder / "p"])
    return folder


@pytest.fixture
def call(tmp_path: Path, indexed: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`mmsearch feedback` in a folder with photos that are indexed."""
    folder = Path(shutil.copytree(indexed, tmp_path.resolve() / "copy"))
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MMSEARCH_DEVICE", raising=False)
    monkeypatch.setenv("MMSEARCH_LIBRARY", "lib")
    monkeypatch.setenv("MMSEARCH_MODEL", str(model))
    with Library.open("lib") as library:
        library.move_root(indexed / "p", "p")
    return lambda *arguments: run(["feedback", *arguments])


def listed(call: Callable[..., int], capsys: Output) -> list[tuple[str, str, str]]:
    capsys.readouterr()
    assert call("--list", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [(each["query"], each["judgement"], Path(each["path"]).name) for each in records]


def test_every_path_after_an_option_is_its_own(call: Callable[..., int], capsys: Output) -> None:
    assert call("a red thing", "--good", "p/red.png", "--bad", "p/green.png", "p/blue.png") == 0
    assert capsys.readouterr() == ("1 good, 2 bad noted\n", "")
    assert listed(call, capsys) == [
        ("a red thing", "bad", "blue.png"),
        ("a red thing", "bad", "green.png"),
        ("a red thing", "good", "red.png"),
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["q", "--good", "a", "b"], ["q", "--good", "a", "--good", "b"]),
        (["q", "--good", "a", "--library", "l"], ["q", "--good", "a", "--library", "l"]),
        (["--good=a", "q"], ["--good=a", "q"]),
        (["--bad", "a", "--", "-q", "x"], ["--bad", "a", "--", "-q", "x"]),
        (["q", "--good"], ["q"]),
    ],
)
def test_arguments_are_told_one_by_one(given: list[str], told: list[str]) -> None:
    assert one_by_one(given) == told


def test_the_list_says_when(call: Callable[..., int], capsys: Output) -> None:
    call("red", "--good", "p/red.png")
    capsys.readouterr()
    assert call("--list") == 0
    path = Path.cwd() / "p" / "red.png"
    assert re.fullmatch(rf"red\tgood\t{re.escape(str(path))}\t[\d-]+T[\d:]+\+00:00\n", capsys.readouterr().out)


def test_json_is_one_object(call: Callable[..., int], capsys: Output) -> None:
    call("red", "--bad", "p/red.png")
    capsys.readouterr()
    assert call("red", "--good", "p/red.png", "--bad", "p/blue.png", "--json") == 0
    path = str(Path.cwd() / "p" / "red.png")
    told = capsys.readouterr()
    assert json.loads(told.out) == {"query": "red", "good": 1, "bad": 1, "turned": [path]}


def test_a_judgement_that_contradicts_an_earlier_one_counts_and_says_so(
    call: Callable[..., int], capsys: Output
) -> None:
    call("red", "--good", "p/red.png", "p/blue.png")
    capsys.readouterr()
    assert call("red", "--bad", "p/blue.png") == 0
    assert capsys.readouterr() == (
        "0 good, 1 bad noted\n",
        "p/blue.png was judged otherwise before; the later judgement counts.\n",
    )
    assert listed(call, capsys) == [("red", "bad", "blue.png"), ("red", "good", "red.png")]


def test_blanks_do_not_make_another_query(call: Callable[..., int], capsys: Output) -> None:
    call("a  red thing ", "--good", "p/red.png")
    call("a red thing", "--bad", "p/red.png")
    assert listed(call, capsys) == [("a red thing", "bad", "red.png")]


@pytest.mark.parametrize(("query", "left"), [(["red"], ["blue"]), ([], [])])
def test_judgements_are_cleared(call: Callable[..., int], capsys: Output, query: list[str], left: list[str]) -> None:
    call("red", "--good", "p/red.png")
    call("blue", "--good", "p/blue.png")
    capsys.readouterr()
    assert call("--clear", *query) == 0
    assert capsys.readouterr() == (f"{2 - len(left)} forgotten\n", "")
    assert [query for query, _, _ in listed(call, capsys)] == left


def test_judgements_outlive_a_move_and_a_rebuild(call: Callable[..., int], capsys: Output) -> None:
    call("red", "--good", "p/red.png")
    Path("p").rename("pictures")
    assert run(["roots", "move", "p", "pictures"]) == 0
    assert run(["index", "--rebuild"]) == 0
    assert listed(call, capsys) == [("red", "good", "red.png")]


@pytest.mark.parametrize("by", ["forget", "deletion"])
def test_judgements_vanish_with_their_file(call: Callable[..., int], capsys: Output, by: str) -> None:
    call("red", "--good", "p/red.png", "--bad", "p/blue.png")
    if by == "forget":
        run(["forget", "p/red.png"])
    else:
        Path("p/red.png").unlink()
        run(["index"])
    assert listed(call, capsys) == [("red", "bad", "blue.png")]


HOW = "write `mmsearch feedback QUERY --good PATH... --bad PATH...`, or --list, or --clear [QUERY]."


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["red"], 2, "name the files that fit the query with --good, and those that do not with --bad."),
        (["--good", "p/red.png"], 2, HOW),
        (["red", "--list"], 2, HOW),
        (["red", "--clear", "--good", "p/red.png"], 2, HOW),
        (
            ["red", "--good", "p/red.png", "--bad", "p/red.png"],
            2,
            "{here}/p/red.png is called good and bad at once; nothing was noted.",
        ),
        (
            ["red", "--good", "p/red.png", "gone.png"],
            1,
            "{here}/gone.png is not in this library; add it with `mmsearch index`.",
        ),
        (["p/red.png", "--good", "p/red.png"], 1, '"p/red.png" is a picture; only answers to words can be judged.'),
        (["red - blue", "--good", "p/red.png"], 1, '"red - blue" subtracts; judge the answers to "red" alone.'),
        ([" ", "--good", "p/red.png"], 1, 'the query is empty; ask for something, such as "a dog on a beach".'),
    ],
)
def test_what_makes_no_sense_is_refused_and_notes_nothing(
    call: Callable[..., int], capsys: Output, arguments: list[str], code: int, message: str
) -> None:
    assert call(*arguments) == code
    assert capsys.readouterr() == ("", f"error: {message.format(here=Path.cwd())}\n")
    assert listed(call, capsys) == []
