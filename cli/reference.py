"""Writes docs/cli.md: `python -m mmsearch.cli.reference > docs/cli.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

from mmsearch.cli.app import app_of
from mmsearch.cli.output import emit

INTRODUCTION = """\
# The command line

What `--help` prints, command by command. This page is made by `python -m mmsearch.cli.reference`, and a test
fails when it lacks a command or an option.

Answers go to stdout, everything else to stderr. Exit codes: 0 done, 1 an error (or problems that `verify`
found), 2 wrong usage, 130 interrupted by Ctrl-C.

- On a terminal `query` and `similar` print a table, its paths relative to the current directory where they
  are below it. In a pipe they print `probability<TAB>path`; with --no-rerank, where there is no probability,
  `score<TAB>path`. Paths are absolute there, as in every other form.
- `query` says "no good match" on stderr when the library most likely holds nothing that fits; what is nearest is
  shown all the same. `--min-prob P` leaves out what is less probable than P.
- `--explain` says what added how much to the score of each answer, what counts most first. How that was found is the
  field `method` of the JSON form: `exact`, or `shapley` (sampled Shapley values).
- A control character in a name is printed as an escape, such as `\\x1b`, in the table and in tab-separated
  lines. `--json`, `--csv`, `-f` and `-0` give names exactly as they are.
- `--json` prints one object a line: `rank, score, probability, path, kind, view, start_s, end_s, snippet, signals,
  fits`, and with `--explain` also `contributions, method, reasons`. `fits` is the probability that the library holds
  what was asked for, `null` where nothing says so, as `probability` is.
- Into a pipe everything is written as UTF-8, whatever the locale.
- Environment: `MMSEARCH_LIBRARY` (the library), `MMSEARCH_MODEL` (the model), `MMSEARCH_MODELS` (where added
  models are kept), `MMSEARCH_DEVICE` (where the model runs), `MMSEARCH_SEARCH` (by what the vectors are searched:
  `scan`, `codes`, `lists` or `auto`), `NO_COLOR`.
"""


def command_names(command: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command of a Typer command tree with the words that call it, the root first."""
    yield above, command
    for name, below in getattr(command, "commands", {}).items():
        yield from command_names(below, (*above, name))


def reference() -> str:
    """docs/cli.md as it should read."""
    runner = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"})
    sections = [INTRODUCTION]
    for words, _ in command_names(typer.main.get_command(app_of())):
        text = runner.invoke(app_of(), [*words, "--help"], prog_name="mmsearch").output
        sections.append(f"## {' '.join(('mmsearch', *words))}\n\n```text\n{text.strip()}\n```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    emit([reference()], end="")
