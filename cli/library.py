"""The commands that look after a library: status, forget, roots, failures, verify, repair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import AsJson, LibraryFolder, existing_library
from mmsearch.cli.output import emit, json_line, note, printable, show, shown_path
from mmsearch.cli.progress import finish, watched
from mmsearch.index.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.index.items import Kind, View
    from mmsearch.retrieval.types import Status


def status(library: LibraryFolder = None, as_json: AsJson = False) -> None:
    """Show what the library holds.

    Sounds that still lack a caption are named.
    """
    with existing_library(library) as opened:
        found = opened.status()
    if as_json:
        emit([json_line(asdict(found))])
    else:
        emit(status_lines(found))


def status_lines(found: Status) -> list[str]:
    """A status in words, one fact a line."""
    facts = [
        ("library", f"{shown_path(found.path)} ({found.size_bytes / 1e6:.1f} MB)"),
        ("model", f"{found.model} ({found.dim} dimensions)"),
        ("items", _counts(found.items)),
        ("rows", _counts(found.rows)),
        *(("searched by", f"{view}: {plan}") for view, plan in found.searched_by.items()),
        ("failures", f"{found.failures}"),
        *(("root", shown_path(root)) for root in found.roots),
        *(("no caption", shown_path(path)) for path in found.uncaptioned),
    ]
    return [f"{name:<12}{printable(value)}" for name, value in facts]


def _counts(counts: Mapping[Kind, int] | Mapping[View, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def forget(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files, folders or roots.")],
    library: LibraryFolder = None,
) -> None:
    """Take files out of the library.

    The files themselves stay. `mmsearch index` with their path takes them in again.
    """
    with existing_library(library) as opened:
        count = opened.forget(paths)
    emit([f"{count} forgotten"])


def roots(
    action: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ACTION",
            help="`list`, which needs not be written, or `move OLD NEW`: a folder has moved with its files.",
            show_default=False,
        ),
    ] = None,
    library: LibraryFolder = None,
    as_json: AsJson = False,
) -> None:
    """List the folders of the library, or move one."""
    match action or ["list"]:
        case ["list"]:
            move = None
        case ["move", old, new]:
            move = Path(old), Path(new)
        case _:
            raise UsageError("write `mmsearch roots list` or `mmsearch roots move OLD NEW`.")
    with existing_library(library) as opened:
        found = [opened.move_root(*move)] if move else opened.roots()
    show([{"root": root.path} for root in found], as_json=as_json)


def failures(
    retry: Annotated[bool, typer.Option("--retry", help="Try to read them again.")] = False,
    library: LibraryFolder = None,
    as_json: AsJson = False,
) -> None:
    """List the files that could not be read, and why."""
    with existing_library(library) as opened:
        if retry:
            with watched() as (on_progress, on_skip):
                report = opened.retry_failures(on_progress=on_progress, on_skip=on_skip)
            finish(report, as_json=as_json)
            return
        found = opened.failures()
    show([{"path": it.path, "reason": it.reason, "failed_at": it.failed_at} for it in found], as_json=as_json)


def verify(library: LibraryFolder = None) -> None:
    """Check that the library is whole.

    Prints each problem, and exits with 1 if there is any.
    """
    with existing_library(library) as opened:
        problems = opened.verify()
    emit(map(printable, problems))
    if problems:
        note("mend it with `mmsearch repair`.")
        raise typer.Exit(1)
    note("no problems found.")


def repair(library: LibraryFolder = None) -> None:
    """Mend what `mmsearch verify` finds.

    Prints each thing that was mended.
    """
    with existing_library(library) as opened:
        mended = opened.repair()
    emit(map(printable, mended))
    if not mended:
        note("nothing to mend.")
