"""The command `mmsearch`: all of its commands, and what becomes of an error.

Exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted. Answers go to stdout, all else to stderr.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TextIO

import typer

from mmsearch import __version__
from mmsearch.cli.doctor import doctor
from mmsearch.cli.eval import evaluate
from mmsearch.cli.feedback import ManyPaths, feedback
from mmsearch.cli.fusion import fusion
from mmsearch.cli.index import index
from mmsearch.cli.library import failures, forget, repair, roots, status, verify
from mmsearch.cli.models import models
from mmsearch.cli.output import emit, note, prepare_streams
from mmsearch.cli.progress import INTERRUPTED
from mmsearch.cli.query import query, similar
from mmsearch.cli.train import train
from mmsearch.index.errors import MmsearchError, UsageError

# Without rich's markup the help is plain text, is there at once, and reads the same in a pipe.
app = typer.Typer(
    name="mmsearch",
    help="Search your own photos, texts and sounds by what is in them, on your own machine.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
)
for command in (index, query, similar, status, forget, roots, failures, verify, repair):
    app.command()(command)
app.command(cls=ManyPaths)(feedback)
app.command("eval")(evaluate)
app.add_typer(fusion)
app.add_typer(models)
app.add_typer(train)
app.command()(doctor)


@dataclass
class Run:
    """What one call of the command was told before its command's own name."""

    debug: bool = False


def print_version(wanted: bool) -> None:
    """Print the version, when that was asked for, and end."""
    if wanted:
        emit([f"mmsearch {__version__}"])
        raise typer.Exit


@app.callback()
def before(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Note the options that stand before a command's name."""
    context.ensure_object(Run).debug = debug


def main() -> None:
    """Run the command with the process's arguments, and end the process with its exit code."""
    warnings.showwarning = show_warning
    sys.exit(run(sys.argv[1:]))


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say what a warning says, but not where in the code it was raised."""
    note(f"warning: {message}")


def run(arguments: Sequence[str]) -> int:
    """Run the command, and give its exit code."""
    prepare_streams()
    told = Run()
    try:
        app(list(arguments), prog_name="mmsearch", obj=told)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if told.debug:
            traceback.print_exc()
        note(f"error: {described(error)}")
        return 2 if isinstance(error, UsageError) else 1
    return 0


def described(error: Exception) -> str:
    """An error in one line. One that nobody meant to raise says how to see where it came from."""
    if isinstance(error, MmsearchError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error} (a bug; `mmsearch --debug ...` shows where)"
