"""`mmsearch fusion`, over a real library of photos that only their names tell apart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.models import make_tiny_model

from mmsearch import Library
from mmsearch.cli.app import run
from mmsearch.retrieval.feedback import fusion as home
from mmsearch.retrieval.feedback import heads
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.heads.base import Head
from mmsearch.retrieval.fusion.heads.weighted import Weighted
from mmsearch.retrieval.fusion.options import Options

Output = pytest.CaptureFixture[str]
Call = Callable[..., int]

NAMES = [f"{first}{second}" for first in ("apple", "barge", "cloud", "dairy", "eagle") for second in "vwxyz"]


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos beside their library, in which every name was asked for; to be copied."""
    folder = tmp_path_factory.mktemp("judged").resolve()
    make_tiny_model(folder / "tiny")
    (folder / "p").mkdir()
    for name in NAMES:
        Image.new("RGB", (8, 8), "grey").save(folder / "p" / f"{name}.png")
    with Library.open(folder / "lib", model=str(folder / "tiny")) as library:
        library.index([folder / "p"])
        for name, other in zip(NAMES, NAMES[-1:] + NAMES[:-1], strict=True):
            library.feedback(name, good=[folder / "p" / f"{name}.png"], bad=[folder / "p" / f"{other}.png"])
    return folder


@pytest.fixture
def call(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command in a copy of that folder, with a shipped head that changes nothing and one to be learned."""
    monkeypatch.chdir(shutil.copytree(judged, tmp_path.resolve() / "copy"))
    monkeypatch.delenv("MMSEARCH_DEVICE", raising=False)
    monkeypatch.setenv("MMSEARCH_LIBRARY", "lib")
    monkeypatch.setenv("MMSEARCH_MODEL", str(judged / "tiny"))
    monkeypatch.setattr(heads, "shipped", lambda: Weighted.untrained())
    monkeypatch.setattr(home, "fitter", lambda: by_name)
    with Library.open("lib") as library:
        library.move_root(judged / "p", "p")
    return lambda *arguments: run(list(arguments))


UNCALIBRATED = "; too few were judged to calibrate it, so the shipped calibration stays"


def by_name(kind: type[Head], examples: Examples, options: Options, start: Head) -> Head:
    """A head that goes by names."""
    head = Weighted.untrained()
    head.parameters["items"][0] = 5.0
    return head


def nothing(kind: type[Head], examples: Examples, options: Options, start: Head) -> Head:
    return start


def first(call: Call, capsys: Output, query: str) -> str:
    capsys.readouterr()
    assert call("query", query, "-k", "1", "-f") == 0
    return Path(capsys.readouterr().out.strip()).name


def table(*lines: str, head: str = "path,caption") -> str:
    Path("captions.csv").write_text("\n".join([head, *lines]))
    return "captions.csv"


def test_a_better_head_answers_from_now_on(call: Call, capsys: Output) -> None:
    assert first(call, capsys, "eaglez") != "eaglez.png"
    assert call("fusion", "train") == 0
    out, err = capsys.readouterr()
    assert out.startswith("held-out nDCG@10 ")
    assert out.endswith(f"]: feedback answers from now on{UNCALIBRATED}\n")
    assert err == ""
    assert first(call, capsys, "eaglez") == "eaglez.png"


def test_a_head_that_is_no_better_says_what_it_lacks(
    call: Call, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "fitter", lambda: nothing)
    assert call("fusion", "train", "--from-feedback") == 0
    out = capsys.readouterr().out
    assert out.endswith("difference 0.0 [0.0, 0.0]: 0.0 short of surely better, so nothing was changed\n")
    assert call("fusion", "use", "feedback") == 2


def test_json_tells_the_trial(call: Call, capsys: Output) -> None:
    assert call("fusion", "train", "--name", "mine", "--json") == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["name"], done["queries"], done["after"], done["left_out"]) == ("mine", 25, 1.0, [])
    assert done["low"] > 0
    assert done["is_calibrated"] is False
    assert done["difference"] == pytest.approx(1 - done["before"])


def test_captions_of_the_library_are_learned_from(call: Call, capsys: Output) -> None:
    captions = table(*(f"p/{name}.png,{name}" for name in NAMES), "p/gone.png,x")
    assert call("fusion", "train", "--captions", captions) == 0
    out, err = capsys.readouterr()
    assert out.endswith(f"]: captions answers from now on{UNCALIBRATED}\n")
    assert err == "left out: 1 of its files are not in this library.\n"


def test_evaluate_tells_of_the_head_in_use(call: Call, capsys: Output) -> None:
    assert call("fusion", "evaluate", "--json") == 0
    before = json.loads(capsys.readouterr().out)
    call("fusion", "train")
    capsys.readouterr()
    assert call("fusion", "evaluate", "--json") == 0
    after = json.loads(capsys.readouterr().out)
    assert (before["name"], after["name"], before["queries"]) == ("default", "feedback", 25)
    assert before["ndcg@10"] < after["ndcg@10"] == after["recall@1"] == after["mrr"] == 1
    assert before["low"] <= before["ndcg@10"] <= before["high"]


def test_compare_has_every_head_and_every_signal(call: Call, capsys: Output) -> None:
    call("fusion", "train")
    capsys.readouterr()
    assert call("fusion", "compare") == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == [
        "default",
        "feedback",
        "signal best view",
        "signal image",
        "signal words",
        "signal name",
    ]
    ndcg = {row[0]: float(row[2]) for row in rows}
    assert ndcg["feedback"] == ndcg["signal name"] == 1.0
    assert ndcg["default"] == ndcg["signal best view"] < 1


def test_a_head_is_chosen_by_name_and_reset_forgets_it(call: Call, capsys: Output) -> None:
    call("fusion", "train")
    capsys.readouterr()
    assert call("fusion", "use", "default") == 0
    assert capsys.readouterr() == ("default answers from now on\n", "")
    assert first(call, capsys, "eaglez") != "eaglez.png"
    assert call("fusion", "use", "feedback") == 0
    assert first(call, capsys, "eaglez") == "eaglez.png"
    assert call("fusion", "reset") == 0
    assert capsys.readouterr() == ("1 deleted; default answers from now on\n", "")
    assert first(call, capsys, "eaglez") != "eaglez.png"


def test_a_real_head_is_trained_in_seconds(call: Call, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from mmsearch.retrieval.feedback.training import fitter

    monkeypatch.setattr(home, "fitter", fitter)
    assert call("fusion", "train") == 0
    assert capsys.readouterr().out.endswith(f"]: feedback answers from now on{UNCALIBRATED}\n")
    assert first(call, capsys, "eaglez") == "eaglez.png"


def test_a_damaged_head_is_told_on_stderr_and_fails_no_query(call: Call) -> None:
    call("fusion", "train")
    Path("lib/fusion/feedback.npz").write_bytes(b"")
    query = [sys.executable, "-m", "mmsearch", "query", "grey", "-k", "1", "-f"]
    done = subprocess.run(query, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent.name == "p"
    path = Path("lib/fusion/feedback.npz").resolve()
    assert done.stderr.splitlines() == [
        f"warning: the fusion head {path} cannot be used: it cannot be read (No data left in file). The shipped one "
        "answers; `mmsearch fusion use default` keeps it so."
    ]


def test_a_library_of_another_model_says_so_and_answers(call: Call, capsys: Output, tmp_path: Path) -> None:
    call("fusion", "train")
    other = str(make_tiny_model(tmp_path / "other", seed=1))
    assert call("index", "--rebuild", "--model", other) == 0
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_MODEL", other)
        with pytest.warns(RuntimeWarning, match="it was trained with another model than the library's"):
            assert call("query", "grey", "-k", "1", "-f") == 0
    assert capsys.readouterr().out.count("\n") == 1


# -- what makes no sense -----------------------------------------------------------------------------------------------

NOTHING = "nothing was judged yet; say what fits a query with `mmsearch feedback QUERY --good PATH`."


@pytest.mark.parametrize("command", ["train", "evaluate", "compare"])
def test_nothing_judged_is_wrong_usage(call: Call, capsys: Output, command: str) -> None:
    call("feedback", "--clear")
    capsys.readouterr()
    assert call("fusion", command) == 2
    assert capsys.readouterr() == ("", f"error: {NOTHING}\n")


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        (
            ["--good", "p/applev.png"],
            "all that was judged is good; learning needs both, so judge some answers with --bad.",
        ),
        (
            ["--bad", "p/applev.png"],
            "all that was judged is bad; learning needs both, so judge some answers with --good.",
        ),
        (
            ["--good", "p/applev.png", "--bad", "p/applew.png"],
            "learning needs 20 queries with a good and a bad answer each, and there are 1; judge more with "
            "`mmsearch feedback`.",
        ),
    ],
)
def test_too_few_judgements_say_what_is_missing(
    call: Call, capsys: Output, judgements: list[str], message: str
) -> None:
    call("feedback", "--clear")
    call("feedback", "apple", *judgements)
    capsys.readouterr()
    assert call("fusion", "train") == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_a_table_without_its_columns_is_refused(call: Call, capsys: Output) -> None:
    assert call("fusion", "train", "--captions", table("p/applev.png,red", head="path,colour")) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"error: the caption file {Path('captions.csv').resolve()} cannot be used: it lacks the column caption (or "
        "caption_1, caption_2 …); its columns are: path, colour.\n"
    )


def test_a_table_of_other_photos_is_refused(call: Call, capsys: Output) -> None:
    assert call("fusion", "evaluate", "--captions", table("gone.png,red")) == 1
    assert capsys.readouterr().err == (
        f"error: the caption file {Path('captions.csv').resolve()} cannot be used: learning needs captions of 20 items "
        "of the library; 1 of its files are not in this library.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--from-feedback", "--captions", "captions.csv"], "choose one of --from-feedback and --captions."),
        (
            ["train", "--name", "default"],
            "a head cannot be called 'default'; use letters, digits, dots, dashes, underscores.",
        ),
        (["use", "mine"], "there is no fusion head 'mine'; there are default."),
    ],
)
def test_wrong_usage_is_refused(call: Call, capsys: Output, arguments: list[str], message: str) -> None:
    table()
    assert call("fusion", *arguments) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_without_torch_the_extra_is_named(call: Call, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch.retrieval.feedback.training import fitter

    monkeypatch.setattr(home, "fitter", fitter)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert call("fusion", "train") == 1
    assert capsys.readouterr() == (
        "",
        "error: training a fusion head needs an optional part: pip install 'mmsearch[train]'\n",
    )
