"""Peers are installed once, and what cannot be installed is said."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.benchmark_scripts import BENCHMARKS, script


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script, whose environments lie in a folder of the test."""
    return script("peers", monkeypatch, PEERS=tmp_path)


@pytest.fixture
def ran(peers: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands that were run instead of being run; pip knows every package but `scann`."""
    commands: list[list[str]] = []

    def run(command: list[Any], **options: Any) -> Any:
        commands.append([str(word) for word in command])
        if "venv" in commands[-1]:
            (tmp_path / "vectors" / "lib" / "python3" / "site-packages").mkdir(parents=True)
        missing = commands[-1][-1] == "scann"
        said = "Collecting scann\nERROR: No matching distribution found for scann\n\n"
        return subprocess.CompletedProcess(command, int(missing), "1.2.3\n", said if missing else "")

    monkeypatch.setattr(peers.subprocess, "run", run)
    return commands


def test_what_cannot_be_installed_is_said(peers: Any, ran: list[list[str]]) -> None:
    assert peers.versions("vectors") == {
        "faiss-cpu": "1.2.3",
        "hnswlib": "1.2.3",
        "usearch": "1.2.3",
        "scann": "not installed: ERROR: No matching distribution found for scann",
    }


def test_an_environment_is_made_once(peers: Any, ran: list[list[str]], tmp_path: Path) -> None:
    first = peers.python("vectors")
    count = len(ran)
    assert first == peers.python("vectors") == tmp_path / "vectors" / "bin" / "python"
    assert len(ran) == count > 0


def test_peers_that_are_timed_in_our_process_see_our_packages(peers: Any, ran: list[list[str]], tmp_path: Path) -> None:
    peers.python("vectors")
    seen = (tmp_path / "vectors" / "lib" / "python3" / "site-packages" / "ours.pth").read_text().splitlines()
    assert seen[0] == str(BENCHMARKS.parent / "src")
    assert len(seen) == 2
