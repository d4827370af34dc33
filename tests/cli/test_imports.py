"""What a command may load: a query is asked hundreds of times, and torch alone would cost it seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.models import make_tiny_model

from mmsearch.cli.app import COMMANDS, run

PROBE = """
import sys
from mmsearch.cli.app import run
code = run(sys.argv[2:])
print("loaded:", *sorted(set(sys.argv[1].split(",")) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def loaded(of: str, *arguments: str) -> str:
    """Which of the modules a command loads."""
    command = [sys.executable, "-c", PROBE, of, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()[-1].removeprefix("loaded:").strip()


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert loaded("faiss,onnxruntime,sqlalchemy,numpy,PIL,rich,torch,tokenizers", *arguments) == ""


def test_a_command_loads_no_other_command() -> None:
    files = sorted({f"mmsearch.cli.{where.partition('.')[0]}" for where in COMMANDS.values()})
    assert loaded(",".join(files), "query", "--help") == "mmsearch.cli.query"
    assert loaded(",".join(files), "--help").split() == files


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of the photo p/red.png."""
    (tmp_path / "p").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "p" / "red.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMSEARCH_LIBRARY", "lib")
    monkeypatch.setenv("MMSEARCH_MODEL", str(make_tiny_model(tmp_path / "tiny")))
    assert run(["index", "p"]) == 0


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("arguments", [["index"], ["index", "p"]])
def test_a_run_that_finds_nothing_new_loads_nothing_that_reads_embeds_or_writes(arguments: list[str]) -> None:
    assert loaded("onnxruntime,faiss,torch,sqlalchemy,asyncio,PIL,tokenizers,multiprocessing", *arguments) == ""


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("arguments", [["query", "red"], ["query", "./p/red.png"], ["similar", "p/red.png"]])
def test_a_query_loads_only_what_answers_it(arguments: list[str]) -> None:
    unwanted = (
        "torch,open_clip,torchvision,onnx,pandas,scipy,lxml,mutagen,sqlalchemy,asyncio,ssl,filelock,faiss,numpy.ma"
    )
    assert loaded(unwanted, *arguments) == ""
