"""`mmsearch fusion`: the order of the answers, trained on its user's own queries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import AsJson, LibraryFolder, Seed, existing_library
from mmsearch.cli.output import Record, emit, json_line, note, show
from mmsearch.cli.progress import stepping
from mmsearch.index.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.retrieval.feedback.fusion import Figures
    from mmsearch.retrieval.feedback.training import Trial

fusion = typer.Typer(name="fusion", help="Train the order of the answers on your own queries.", no_args_is_help=True)

FromFeedback = Annotated[
    bool, typer.Option("--from-feedback", help="By what `mmsearch feedback` noted. So it is without --captions.")
]
Captions = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        exists=True,
        dir_okay=False,
        help="By captions of items of the library: path,caption, as for `mmsearch index`.",
        show_default=False,
    ),
]


@fusion.command("train")
def train_head(
    from_feedback: FromFeedback = False,
    captions: Captions = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NEW", help="What to call it. Without it: feedback, or captions.", show_default=False),
    ] = None,
    seed: Seed = 0,
    library: LibraryFolder = None,
    as_json: AsJson = False,
) -> None:
    """Train a head on your own queries.

    Begins with the shipped one. Only if queries that were held out are answered surely better, the new head answers
    from now on. Needs at least 20 queries, and the extra `train`.
    """
    _check_source(from_feedback, captions)
    with existing_library(library) as opened, stepping() as on_step:
        done = opened.fusion.train(captions, name=name, seed=seed, on_step=on_step)
    for left_out in done.left_out:
        note(f"left out: {left_out}.")
    emit([json_line(trial_record(done)) if as_json else summary(done)])


@fusion.command("evaluate")
def evaluate_head(
    from_feedback: FromFeedback = False,
    captions: Captions = None,
    library: LibraryFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show how well the head in use answers.

    One that was trained on these very queries is flattered.
    """
    _check_source(from_feedback, captions)
    with existing_library(library) as opened, stepping() as on_step:
        found = opened.fusion.evaluate(captions, on_step=on_step)
    show([figures_record(found)], as_json=as_json)


@fusion.command("compare")
def compare_heads(
    from_feedback: FromFeedback = False,
    captions: Captions = None,
    library: LibraryFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compare every head, and every signal alone.

    A head that was trained on these very queries is flattered.
    """
    _check_source(from_feedback, captions)
    with existing_library(library) as opened, stepping() as on_step:
        found = opened.fusion.compare(captions, on_step=on_step)
    show([figures_record(each) for each in found], as_json=as_json)


@fusion.command("use")
def use_head(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a trained head, or `default`.")],
    library: LibraryFolder = None,
) -> None:
    """Choose the head that answers."""
    with existing_library(library) as opened:
        opened.fusion.use(name)
    emit([f"{name} answers from now on"])


@fusion.command("reset")
def reset_heads(library: LibraryFolder = None) -> None:
    """Return to the shipped head, and delete all others."""
    with existing_library(library) as opened:
        count = opened.fusion.reset()
    emit([f"{count} deleted; default answers from now on"])


def _check_source(from_feedback: bool, captions: Path | None) -> None:
    if from_feedback and captions is not None:
        raise UsageError("choose one of --from-feedback and --captions.")


def summary(done: Trial) -> str:
    """What training came to, in one line, nDCG in percent and the 95 % interval of the difference."""
    values = (done.before, done.after, done.comparison.difference, done.comparison.low, done.comparison.high)
    before, after, difference, low, high = (f"{100 * value:z.1f}" for value in values)
    gain = f"held-out nDCG@10 {before} -> {after} %, difference {difference} [{low}, {high}]"
    if done.name is not None:
        sure = "" if done.is_calibrated else "; too few were judged to calibrate it, so the shipped calibration stays"
        return f"{gain}: {done.name} answers from now on{sure}"
    return f"{gain}: {-100 * done.comparison.low:z.1f} short of surely better, so nothing was changed"


def trial_record(done: Trial) -> Record:
    """What training came to, as the object that `--json` prints; nDCG in [0, 1]."""
    found = done.comparison
    return {
        "name": done.name,
        "queries": done.queries,
        "before": done.before,
        "after": done.after,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "is_calibrated": done.is_calibrated,
        "left_out": done.left_out,
        "seconds": done.seconds,
    }


def figures_record(found: Figures) -> Record:
    """How well one order answers, as a table and `--json` print it; means in [0, 1]."""
    return {
        "name": found.name,
        "queries": found.queries,
        "ndcg@10": round(found.ndcg.mean, 4),
        "low": round(found.ndcg.low, 4),
        "high": round(found.ndcg.high, 4),
        "recall@1": round(found.recall_1, 4),
        "recall@10": round(found.recall_10, 4),
        "mrr": round(found.mrr, 4),
    }
