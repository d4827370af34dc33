"""What a command may load: a query is asked hundreds of times, and torch alone would cost it seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
