"""`mmsearch eval`: how well search does on one's own photos and captions."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import AsJson, Device, PhotosBeside, Seed
from mmsearch.cli.output import Record, emit, json_line, note, show
from mmsearch.cli.progress import skip_line

if TYPE_CHECKING:
    from mmsearch.retrieval.evaluation.judging import Verdict
    from mmsearch.retrieval.metrics import Comparison, Interval


def evaluate(
    captions: Annotated[
        Path,
        typer.Option(
            metavar="FILE.csv",
            exists=True,
            dir_okay=False,
            help="Photos and what they show: path,caption, as for `mmsearch index`; best with several captions each.",
        ),
    ],
    photos: PhotosBeside = None,
    regime: Annotated[
        list[str] | None,
        typer.Option(
            metavar="photo|caption|audio|mixed|noisy",
            help="What a library holds of each photo; may be repeated. Without it: all that the captions allow.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The model to judge. Without it: MMSEARCH_MODEL, or the bundled one.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to keep the vectors for the next time.", show_default=False),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Judge search by your own captions.

    One caption of each photo is asked for. What a library holds of the photo is the regime: the photo alone,
    another caption, an audio caption, a mixture, or a mixture in which a fifth of the captions are wrong. Compares
    the plain cosine of the best view with mmsearch's ranking; intervals are of 95 %. Nothing is indexed.
    """
    from mmsearch.retrieval.encoders import registry
    from mmsearch.retrieval.evaluation.judging import judge
    from mmsearch.retrieval.evaluation.remembering import Remembering
    from mmsearch.retrieval.fusion.heads import shipped
    from mmsearch.retrieval.scopes import absolute

    chosen = registry.chosen(model)
    with closing(Remembering(registry.load(chosen, device=device), cache)) as encoder:
        verdicts = judge(
            absolute(captions),
            encoder,
            shipped(),
            model=chosen,
            photos=photos,
            regimes=regime or (),
            seed=seed,
            on_skip=lambda skipped: note(skip_line(skipped)),
            say=note,
        )
        encoder.save()
    if as_json:
        emit(json_line(verdict_record(verdict)) for verdict in verdicts)
    else:
        show([verdict_line(verdict) for verdict in verdicts])


def verdict_line(verdict: Verdict) -> Record:
    """One measure for people, in percent with the 95 % interval."""
    return {
        "regime": verdict.regime,
        "queries": verdict.queries,
        "measure": verdict.measure,
        "cosine": _percent(verdict.cosine.mean, verdict.cosine),
        "ranking": _percent(verdict.ranking.mean, verdict.ranking),
        "gain": _percent(verdict.gain.difference, verdict.gain),
    }


def verdict_record(verdict: Verdict) -> Record:
    """One measure as the object that `--json` prints; all in [0, 1]."""
    gain = verdict.gain
    return {
        "regime": verdict.regime,
        "queries": verdict.queries,
        "measure": verdict.measure,
        "cosine": [verdict.cosine.mean, verdict.cosine.low, verdict.cosine.high],
        "ranking": [verdict.ranking.mean, verdict.ranking.low, verdict.ranking.high],
        "gain": [gain.difference, gain.low, gain.high],
        "p_value": gain.p_value,
    }


def _percent(mean: float, around: Interval | Comparison) -> str:
    """
    >>> from mmsearch.metrics import Interval
    >>> _percent(0.104, Interval(0.104, -0.0001, 0.129))
    '10.4 [0.0, 12.9]'
    """
    return f"{100 * mean:z.1f} [{100 * around.low:z.1f}, {100 * around.high:z.1f}]"
