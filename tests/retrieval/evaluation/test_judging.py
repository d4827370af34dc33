from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.models import COLOURS

from mmsearch.index.errors import BadManifest, UsageError
from mmsearch.retrieval.evaluation.examples import examples_of, head_scores, plain_cosine
from mmsearch.retrieval.evaluation.judged import judged_set
from mmsearch.retrieval.evaluation.judging import judge, measures, verdicts_of
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.evaluation.subjects import read_photos
from mmsearch.retrieval.fusion.heads.weighted import Weighted
from mmsearch.retrieval.metrics import compare, interval
from mmsearch.retrieval.types import Skipped

HEAD = Weighted.untrained()


def table_of(folder: Path, photos: int, captions: int = 3) -> Path:
    """Photos of two colours each, and a table of what they show."""
    colours = list(COLOURS)
    told = []
    for at in range(photos):
        above, below = colours[at % 7], colours[(at + 1 + at // 7) % 7]
        picture = Image.new("RGB", (40, 40), above)
        picture.paste(COLOURS[below], (0, 20, 40, 40))
        picture.save(folder / f"{at}.png")
        said = (f"{above} {below}", f"a {below} thing below {above}", f"number {at} {above} {below}")
        told += [(f"{at}.png", text) for text in said[:captions]]
    table = folder / "captions.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "caption"), *told])
    return table


def test_every_regime_is_judged_by_every_measure(tmp_path: Path, towers: Remembering, model: str) -> None:
    verdicts = judge(table_of(tmp_path, 21), towers, HEAD, model=model)
    assert [verdict.regime for verdict in verdicts[::5]] == ["photo", "caption", "audio", "mixed", "noisy"]
    assert [verdict.measure for verdict in verdicts[:5]] == ["R@1", "R@5", "R@10", "MRR", "nDCG@10"]
    assert {verdict.queries for verdict in verdicts} == {21}


def test_a_verdict_compares_the_cosine_with_the_head(tmp_path: Path, towers: Remembering, model: str) -> None:
    photos, _ = read_photos(table_of(tmp_path, 21))
    examples = examples_of(judged_set("mixed", photos), towers, model=model)
    examples = replace(examples, base=-examples.base)  # a head that is wrong
    verdict = next(each for each in verdicts_of("mixed", examples, HEAD) if each.measure == "MRR")
    before = measures(examples, plain_cosine(examples))["MRR"]
    after = measures(examples, head_scores(HEAD, examples))["MRR"]
    assert verdict.cosine == interval(before, examples.group.tolist())
    assert verdict.ranking == interval(after, examples.group.tolist())
    assert verdict.gain == compare(before, after, examples.group.tolist())
    assert verdict.gain.high < 0


def test_a_photo_without_a_second_caption_leaves_only_one_regime(
    tmp_path: Path, towers: Remembering, model: str
) -> None:
    said: list[str] = []
    verdicts = judge(table_of(tmp_path, 20, captions=1), towers, HEAD, model=model, say=said.append)
    assert {verdict.regime for verdict in verdicts} == {"photo"}
    assert (
        "only the regime photo is judged: 0 of its photos have a second caption, and all regimes but `photo` need 20 "
        "that do" in said
    )


def test_a_regime_that_the_captions_do_not_allow_is_refused(tmp_path: Path, towers: Remembering, model: str) -> None:
    table = table_of(tmp_path, 20, captions=1)
    with pytest.raises(BadManifest) as refused:
        judge(table, towers, HEAD, model=model, regimes=["photo", "mixed"])
    assert str(refused.value) == (
        f"the caption file {table} cannot be used: 0 of its photos have a second caption, and all regimes but `photo` "
        "need 20 that do."
    )


def test_an_unknown_regime_is_refused(tmp_path: Path, towers: Remembering, model: str) -> None:
    with pytest.raises(UsageError) as refused:
        judge(tmp_path / "none.csv", towers, HEAD, model=model, regimes=["movie"])
    assert str(refused.value) == "there is no regime 'movie'; there are photo, caption, audio, mixed, noisy."


def test_too_few_photos_are_refused(tmp_path: Path, towers: Remembering, model: str) -> None:
    table = table_of(tmp_path, 20)
    (tmp_path / "3.png").unlink()
    (tmp_path / "4.png").write_bytes(b"no photo")
    skipped: list[Skipped] = []
    with pytest.raises(BadManifest) as refused:
        judge(table, towers, HEAD, model=model, on_skip=skipped.append)
    assert str(refused.value) == (
        f"the caption file {table} cannot be used: it has captions for 18 photos, and judging needs at least 20; "
        "2 more are not there or cannot be read."
    )
    assert [(each.path.name, each.reason) for each in skipped[:1]] == [
        ("3.png", "not there, though captions.csv captions it")
    ]
    assert skipped[1].path == tmp_path / "4.png"


def test_photos_that_are_all_elsewhere_are_named(tmp_path: Path, towers: Remembering, model: str) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("path,caption\na.jpg,a dog\n")
    with pytest.raises(BadManifest, match=r"none of its photos is there: a\.jpg\. Say where they are with --photos"):
        judge(table, towers, HEAD, model=model)
