"""What a run of indexing says while it works, and what it says at its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from mmsearch.cli.output import INTERRUPTED, emit, json_line, note, shown_path

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from mmsearch.retrieval.feedback.training import OnStep
    from mmsearch.retrieval.indexing import OnProgress, OnSkip
    from mmsearch.retrieval.types import IndexReport, Progress, Skipped


@contextmanager
def watched() -> Iterator[tuple[OnProgress | None, OnSkip]]:
    """Give the two callbacks of an indexing run: a bar if stderr is a terminal, and a line for each skip."""
    if not sys.stderr.isatty():
        yield None, lambda skipped: note(skip_line(skipped))
        return
    from rich.text import Text

    with progress_bar() as bar:
        task = bar.add_task("indexing", total=None, skipped="")
        # Through the bar's console, which moves the bar down.
        yield (
            lambda now: bar.update(task, completed=now.done, total=now.total, skipped=skip_count(now)),
            lambda skipped: bar.console.print(Text(skip_line(skipped)), soft_wrap=True),
        )


@contextmanager
def stepping() -> Iterator[OnStep]:
    """Give the callback of a run in steps: a bar if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda step, done, total: None
        return
    with progress_bar() as bar:
        task = bar.add_task("", total=None, skipped="")
        yield lambda step, done, total: bar.update(task, description=step, completed=done, total=total)


def progress_bar() -> Bar:
    """A bar on stderr that leaves nothing behind."""
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[skipped]}", markup=False),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )


def skip_count(now: Progress) -> str:
    """How many files were skipped so far, empty for none."""
    return f"{now.skipped} skipped" if now.skipped else ""


def skip_line(skipped: Skipped) -> str:
    """One file that was passed over, and why."""
    return f"skipped {shown_path(skipped.path)}: {skipped.reason}"


def finish(report: IndexReport, *, as_json: bool) -> None:
    """Print what a run did; after Ctrl-C, end with the exit code that says so."""
    emit([json_line(report_record(report)) if as_json else summary(report)])
    if report.interrupted:
        note("interrupted: what was done is kept; the same command goes on from here.")
        raise typer.Exit(INTERRUPTED)


def summary(report: IndexReport) -> str:
    """What a run did, in one line; with a GPU also how much of the time that computed."""
    busy = "" if report.device_busy is None else f", GPU {report.device_busy:.0%} busy"
    return (
        f"{report.added} added, {report.changed} changed, {report.removed} removed, "
        f"{report.unchanged} unchanged, {report.skipped} skipped "
        f"in {report.seconds:.1f} s ({report.items_per_second:.1f} items/s{busy})"
    )


def report_record(report: IndexReport) -> dict[str, object]:
    """A report as the object that `--json` prints."""
    counts = (
        "added",
        "changed",
        "removed",
        "unchanged",
        "skipped",
        "seconds",
        "items_per_second",
        "interrupted",
        "device_busy",
    )
    failures = [{"path": failure.path, "reason": failure.reason} for failure in report.failures]
    return {**{name: getattr(report, name) for name in counts}, "failures": failures}
