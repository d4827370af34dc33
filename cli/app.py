"""The command `mmsearch`: all of its commands, and what becomes of an error.

Exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted. Answers go to stdout, all else to stderr.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, NoReturn, TextIO

import typer

from mmsearch import __version__
from mmsearch.cli.output import INTERRUPTED, emit, note, prepare_streams
from mmsearch.index.errors import MmsearchError, UsageError

# Where each command is, in the order of the help. Only what was asked for is imported: all of them together take longer
# than finding the answers to a query.
COMMANDS = {
    "index": "index.index",
    "query": "query.query",
    "similar": "query.similar",
    "status": "library.status",
    "forget": "library.forget",
    "roots": "library.roots",
    "failures": "library.failures",
    "verify": "library.verify",
    "repair": "library.repair",
    "feedback": "feedback.feedback",
    "eval": "eval.evaluate",
    "doctor": "doctor.doctor",
    "fusion": "fusion.fusion",
    "models": "models.models",
    "train": "train.train",
}


def app_of(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command with the commands of those names below it."""
    # Without rich's markup the help is plain text, is there at once, and reads the same in a pipe.
    app = typer.Typer(
        name="mmsearch",
        help="Search your own photos, texts and sounds by what is in them, on your own machine.",
        rich_markup_mode=None,
        add_completion=False,
        no_args_is_help=True,
        callback=before,
    )
    for name in names:
        file, function = COMMANDS[name].split(".")
        module = import_module(f"mmsearch.cli.{file}")
        found = getattr(module, function)
        if isinstance(found, typer.Typer):
            app.add_typer(found)
        else:
            app.command(name, cls=getattr(module, "COMMAND_CLASS", None))(found)
    return app


@dataclass
class Run:
    """What one call of the command was told before its command's own name."""

    debug: bool = False


def print_version(wanted: bool) -> None:
    """Print the version, when that was asked for, and end."""
    if wanted:
        emit([f"mmsearch {__version__}"])
        raise typer.Exit


def before(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Note the options that stand before a command's name."""
    context.ensure_object(Run).debug = debug


def main() -> NoReturn:
    """Run the command with the process's arguments, and end the process with its exit code."""
    warnings.showwarning = show_warning
    end(run(sys.argv[1:]))


def end(code: int) -> NoReturn:
    """End the process with an exit code, at once: to take the interpreter down in order costs a query a tenth more."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


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
        app_of(_wanted(arguments))(list(arguments), prog_name="mmsearch", obj=told)
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


def _wanted(arguments: Sequence[str]) -> Iterable[str]:
    """The command that arguments name; all of them where they name none, for the help or the complaint."""
    named = next((each for each in arguments if not each.startswith("-")), "")
    return [named] if named in COMMANDS else COMMANDS


def described(error: Exception) -> str:
    """An error in one line. One that nobody meant to raise says how to see where it came from."""
    if isinstance(error, MmsearchError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error} (a bug; `mmsearch --debug ...` shows where)"
