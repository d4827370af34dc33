"""`mmsearch feedback`: what fits a query and what does not, from the one who asked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from mmsearch.cli.options import AsJson, LibraryFolder, existing_library
from mmsearch.cli.output import Record, emit, json_line, note, show, shown_path
from mmsearch.index.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.index.items import Judgement
    from mmsearch.retrieval.feedback.judging import Feedback

_TAKES_MANY = ("--good", "--bad")


class ManyPaths(TyperCommand):
    """A command whose options for paths take all that follow, so that the shell may fill in `--good beach/*.jpg`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as any command does, with the option's name before each of its paths."""
        return super().parse_args(ctx, one_by_one(args))


COMMAND_CLASS = ManyPaths


def one_by_one(arguments: list[str]) -> list[str]:
    """Arguments with --good and --bad repeated before each path that follows them.

    >>> one_by_one(["a dog", "--good", "1.jpg", "2.jpg", "--bad", "3.jpg", "--json"])
    ['a dog', '--good', '1.jpg', '--good', '2.jpg', '--bad', '3.jpg', '--json']
    """
    told: list[str] = []
    taking = ""
    for place, argument in enumerate(arguments):
        if argument == "--":
            return told + arguments[place:]
        if argument.startswith("-"):
            taking = argument if argument in _TAKES_MANY else ""
            told += [] if taking else [argument]
        else:
            told += [taking, argument] if taking else [argument]
    return told


def feedback(
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="What was looked for, in words.", show_default=False)
    ] = None,
    good: Annotated[
        list[Path] | None, typer.Option("--good", metavar="PATH...", help="Files that fit.", show_default=False)
    ] = None,
    bad: Annotated[
        list[Path] | None, typer.Option("--bad", metavar="PATH...", help="Files that do not.", show_default=False)
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List what was noted.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Forget what was noted of QUERY, or of all queries.")] = False,
    library: LibraryFolder = None,
    as_json: AsJson = False,
) -> None:
    """Note which answers fit a query.

    `mmsearch fusion train` learns from what is noted here. The last word on a query and a file counts.
    """
    judged = bool(good or bad)
    if listed + clear + judged > 1 or (judged and query is None) or (listed and query is not None):
        raise UsageError("write `mmsearch feedback QUERY --good PATH... --bad PATH...`, or --list, or --clear [QUERY].")
    with existing_library(library) as opened:
        if listed:
            show([_record(each) for each in opened.judgements()], as_json=as_json)
        elif clear:
            emit([f"{opened.clear_feedback(query)} forgotten"])
        else:
            _tell(opened.feedback(query or "", good=good or (), bad=bad or ()), as_json=as_json)


def _tell(done: Feedback, *, as_json: bool) -> None:
    """Print what was noted, and say on stderr what was noted otherwise before."""
    emit([json_line(asdict(done)) if as_json else f"{done.good} good, {done.bad} bad noted"])
    for path in done.turned:
        note(f"{shown_path(path)} was judged otherwise before; the later judgement counts.")


def _record(each: Judgement) -> Record:
    return {
        "query": each.query,
        "judgement": "good" if each.is_good else "bad",
        "path": each.path,
        "judged_at": each.judged_at,
    }
