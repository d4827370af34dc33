from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mmsearch.cli.app import app_of
from mmsearch.cli.reference import INTRODUCTION, command_names

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
COMMANDS = list(command_names(typer.main.get_command(app_of())))


def section(words: tuple[str, ...]) -> str:
    """What docs/cli.md has under the heading of a command."""
    heading = f"## {' '.join(('mmsearch', *words))}\n"
    return PAGE.read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]


each_command = pytest.mark.parametrize(
    ("words", "command"), COMMANDS, ids=[" ".join(words) or "mmsearch" for words, _ in COMMANDS]
)


@each_command
def test_the_page_has_each_command_with_what_it_does(words: tuple[str, ...], command: Any) -> None:
    shown = " ".join(section(words).split())
    assert " ".join(command.help.split()) in shown


@each_command
def test_the_page_has_each_option_with_its_help(words: tuple[str, ...], command: Any) -> None:
    shown = " ".join(section(words).split())
    for parameter in command.params:
        assert all(name in shown for name in parameter.opts if name.startswith("-"))
        assert " ".join((parameter.help or "").split()) in shown


@each_command
def test_the_page_names_no_option_that_is_gone(words: tuple[str, ...], command: Any) -> None:
    listed = section(words).partition("Options:\n")[2]
    named = set(re.findall(r"^  (?:-\w, )?(--?[\w-]+)", listed, re.MULTILINE)) - {"--help"}
    assert named <= {name for parameter in command.params for name in parameter.opts}


def test_the_page_begins_with_its_introduction() -> None:
    assert PAGE.read_text(encoding="utf-8").startswith(INTRODUCTION)


def test_the_page_has_no_command_that_is_gone() -> None:
    headings = re.findall(r"^## mmsearch ?(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [" ".join(words) for words, _ in COMMANDS]


@each_command
def test_every_command_and_option_says_what_it_is_for(words: tuple[str, ...], command: Any) -> None:
    assert command.help
    assert all(parameter.help for parameter in command.params)


def test_the_help_fits_a_terminal_of_80_columns() -> None:
    runner = CliRunner(env={"COLUMNS": "80"})
    for words, _ in COMMANDS:
        shown = runner.invoke(app_of(), [*words, "--help"]).output
        assert max(map(len, shown.splitlines())) <= 80
        assert "..." not in shown.partition("Commands:")[2]
