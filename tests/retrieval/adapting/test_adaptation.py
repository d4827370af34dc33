from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.models import make_tiny_model
from tests.retrieval.adapting.problems import CALLED, PHOTOS, arbitrary, nicknamed
from tests.retrieval.encoders.contract import EncoderContract

from mmsearch import Library
from mmsearch.index.errors import BadManifest, ModelInvalid, ModelNotFound, UsageError
from mmsearch.retrieval.adapting import adaptation, captioned
from mmsearch.retrieval.adapting.adaptation import Adaptation, adapt, gain, summary
from mmsearch.retrieval.adapting.captioned import Captioned
from mmsearch.retrieval.adapting.judging import Verdict, judge
from mmsearch.retrieval.adapting.learning import fit
from mmsearch.retrieval.encoders import model_directory, registry
from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder
from mmsearch.retrieval.types import Skipped

BANKED = ("a red thing", "snow on the green hills", "two dogs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captioned photos and a models directory with a tiny model, which brings a bank of captions along."""
    folder = tmp_path_factory.mktemp("adapting")
    nicknamed(folder / "photos")
    base = make_tiny_model(folder / "models" / "tiny")
    with closing(registry.load(str(base), device="cpu")) as encoder:
        np.save(base / "bank.npy", encoder.texts(BANKED).astype(np.float16))
    return folder


@pytest.fixture(autouse=True)
def environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_MODELS", str(folder / "models"))
    monkeypatch.delenv("MMSEARCH_MODEL", raising=False)


@pytest.fixture(scope="module")
def done(folder: Path) -> Adaptation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_MODELS", str(folder / "models"))
        return adapt(folder / "photos" / "captions.csv", model="tiny", name="mine", epochs=80)


@pytest.fixture
def own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models directory of the test's own, with a tiny model."""
    shutil.copytree(folder / "models" / "tiny", tmp_path / "models" / "tiny")
    monkeypatch.setenv("MMSEARCH_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def surely(monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """Let every adapter be judged better."""
    verdict = Verdict(photos=42, before=0.5, after=0.6, low=0.05, high=0.15)
    monkeypatch.setattr(adaptation, "judge", lambda before, after, seed: verdict)
    return verdict


class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self, done: Adaptation) -> Iterator[OnnxEncoder]:
        encoder = OnnxEncoder(registry.find("mine"), threads=1)
        yield encoder
        encoder.close()


def test_words_of_ones_own_are_learned(done: Adaptation) -> None:
    assert done.adapted == "mine"
    assert done.verdict.after > done.verdict.before + 0.25
    assert (done.model, done.photos, done.captions, done.verdict.photos) == ("tiny", PHOTOS, 2 * PHOTOS, 42)


def test_a_library_with_the_new_model_finds_by_these_words(done: Adaptation, folder: Path, tmp_path: Path) -> None:
    assert done.adapted is not None
    with Library.open(tmp_path / "lib", model=done.adapted) as library:
        library.index([folder / "photos"])
        number = {colour: i for i, colour in enumerate(CALLED)}
        best = {colour: library.query(f"a {CALLED[colour]} thing", k=1)[0].path for colour in number}
    right = [int(Path(path).stem) % len(number) == number[colour] for colour, path in best.items()]
    assert sum(right) >= 5


def test_the_new_model_says_where_it_is_from(done: Adaptation) -> None:
    card, base = registry.card("mine"), registry.card("tiny")
    assert card.description == f"Knows seven colours; adapted to 210 photos, {gain(done.verdict)}"
    assert card.fingerprint != base.fingerprint
    assert card.metrics == {
        "adapted_from": {"name": "tiny", "fingerprint": base.fingerprint},
        "photos": 210,
        "captions": 420,
        "epochs": done.epochs,
        "seed": 0,
        "held_out": {
            "photos": 42,
            "R@10_before": done.verdict.before,
            "R@10": done.verdict.after,
            "interval": [done.verdict.low, done.verdict.high],
        },
    }


def test_the_new_model_brings_its_own_rows_of_the_same_captions(done: Adaptation) -> None:
    with closing(registry.load("mine", device="cpu")) as encoder:
        expected = encoder.texts(BANKED)
    np.testing.assert_allclose(np.load(registry.find("mine") / "bank.npy"), expected, atol=2e-3)


def test_the_new_model_is_whole(done: Adaptation) -> None:
    assert model_directory.read(registry.find("mine"), verify=True).card.name == "mine"


def test_the_old_model_stays(done: Adaptation, folder: Path, tmp_path: Path) -> None:
    untouched = make_tiny_model(tmp_path / "tiny")
    for name in ("model.json", "image.onnx", "text.onnx", "tokenizer.json"):
        assert (folder / "models" / "tiny" / name).read_bytes() == (untouched / name).read_bytes()
    assert not (folder / "models" / "tiny" / "adapter.npz").exists()


def test_its_statistics_are_those_of_pairs_that_do_not_belong_together(own: Path, surely: Verdict) -> None:
    """Two photos and a caption of each; the last caption is not looked at."""
    photos = np.array([[1, 0], [0.6, 0.8]], np.float32)
    texts = np.array([[0, 1], [0.8, 0.6], [1, 0]], np.float32)
    null = adaptation._null(Captioned(photos, texts, np.array([0, 1, 1])))
    assert null["image"]["image"] == pytest.approx((0.6, 0))
    assert null["text"]["text"] == pytest.approx((0.6, 0))
    # The first caption with the second photo, and the second caption with the first photo: both 0.8.
    assert null["text"]["image"] == null["image"]["text"] == pytest.approx((0.8, 0))


def test_its_statistics_are_those_of_its_own_space(done: Adaptation, folder: Path) -> None:
    table = folder / "photos" / "captions.csv"
    encoder = OnnxEncoder(registry.find("mine"), threads=1)
    whole = captioned.embed(captioned.find(table, None, lambda _: None), encoder, lambda _: None, lambda _: None)
    expected = adaptation._null(whole)
    for query, rows in registry.card("mine").null.items():
        for row, moments in rows.items():
            assert moments == pytest.approx(expected[query][row], abs=0.02)


def test_calibration_is_kept_and_statistics_are_not(folder: Path, own: Path, surely: Verdict) -> None:
    base = model_directory.read(own / "tiny")
    curves = {"text": {"image": (2.0, -9.0)}}
    model_directory.write(replace(base, card=replace(base.card, calibration=curves)))
    adapt(folder / "photos" / "captions.csv", model="tiny", epochs=1)
    card = registry.card("tiny-adapted")
    assert card.calibration == curves
    assert card.null.keys() == base.card.null.keys()
    assert card.null != base.card.null


def test_where_nothing_can_be_learned_nothing_is_written(own: Path, tmp_path: Path) -> None:
    done = adapt(arbitrary(tmp_path / "photos"), model="tiny", epochs=20)
    assert done.adapted is None
    assert not done.verdict.is_better
    assert [path.name for path in own.iterdir()] == ["tiny"]


def test_the_same_seed_makes_the_same_model(folder: Path, own: Path, surely: Verdict) -> None:
    first, second = (adapt(folder / "photos" / "captions.csv", model="tiny", epochs=2, seed=3) for _ in range(2))
    assert (first.adapted, second.adapted) == ("tiny-adapted", "tiny-adapted-2")
    assert registry.card("tiny-adapted").fingerprint == registry.card("tiny-adapted-2").fingerprint


def test_another_seed_makes_another_model(folder: Path, own: Path, surely: Verdict) -> None:
    for seed in (3, 4):
        adapt(folder / "photos" / "captions.csv", model="tiny", epochs=2, seed=seed)
    assert registry.card("tiny-adapted").fingerprint != registry.card("tiny-adapted-2").fingerprint


def test_nothing_is_learned_from_the_photos_held_out(folder: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, np.ndarray] = {}

    def watched_fit(train: Captioned, tuning: Captioned, **options: object) -> object:
        seen["learned"] = np.concatenate([train.photos, tuning.photos])
        return fit(train, tuning, **options)  # type: ignore[arg-type]

    def watched_judge(before: Captioned, after: Captioned, seed: int) -> Verdict:
        seen["judged"] = before.photos
        return judge(before, after, seed)

    monkeypatch.setattr(adaptation, "fit", watched_fit)
    monkeypatch.setattr(adaptation, "judge", watched_judge)
    adapt(folder / "photos" / "captions.csv", model="tiny", epochs=1)
    learned, judged = ({row.tobytes() for row in seen[part]} for part in ("learned", "judged"))
    assert (len(learned), len(judged)) == (PHOTOS - 42, 42)
    assert not learned & judged


def test_an_adapted_model_can_be_adapted(folder: Path, own: Path, surely: Verdict) -> None:
    """Its rows are those of the model before, turned once more."""
    adapt(folder / "photos" / "captions.csv", model="tiny", name="once", epochs=3)
    adapt(folder / "photos" / "captions.csv", model="once", name="twice", epochs=3)
    once, twice = (
        OnnxEncoder(registry.find(name), threads=1).texts(["a red thing", "zupo"]) for name in ("once", "twice")
    )
    cosine = (once * twice).sum(axis=1)
    assert (cosine > 0.99).all()
    assert (cosine < 0.999999).all()


def test_the_environment_names_the_model(folder: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_MODEL", "tiny")
    assert adapt(folder / "photos" / "captions.csv", epochs=1).model == "tiny"


def test_a_name_that_is_taken_is_refused_before_anything_is_read(own: Path) -> None:
    with pytest.raises(UsageError) as caught:
        adapt(Path("gone.csv"), model="tiny", name="tiny")
    assert str(caught.value) == "there is already a model tiny; remove it, or choose another --name"


def test_a_name_that_is_no_name_is_refused(own: Path) -> None:
    with pytest.raises(UsageError, match="a model cannot be called 'a/b'"):
        adapt(Path("gone.csv"), model="tiny", name="a/b")


def test_an_unknown_model_is_told(own: Path) -> None:
    with pytest.raises(ModelNotFound):
        adapt(Path("gone.csv"), model="tony")


def test_a_model_that_cannot_be_used_is_told(own: Path) -> None:
    (own / "tiny" / "text.onnx").unlink()
    with pytest.raises(ModelInvalid, match=r"it has no text\.onnx"):
        adapt(Path("gone.csv"), model="tiny")


def test_a_caption_file_that_is_not_there_is_told(own: Path, tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match=r"gone\.csv cannot be used"):
        adapt(tmp_path / "gone.csv", model="tiny")


def test_a_caption_file_of_another_shape_is_told(own: Path, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadManifest, match="it lacks the column path"):
        adapt(tmp_path / "c.csv", model="tiny")


def test_photos_that_cannot_be_read_are_told_and_left_out(own: Path, tmp_path: Path) -> None:
    table = nicknamed(tmp_path / "photos")
    for i in range(4):
        (tmp_path / "photos" / f"00{i}.png").write_text("broken")
    skipped: list[Skipped] = []
    said: list[str] = []
    done = adapt(table, model="tiny", epochs=1, on_skip=skipped.append, say=said.append)
    assert (done.photos, done.skipped) == (PHOTOS - 4, 4)
    assert said[2] == "learning from 206 photos with 412 captions; 4 skipped"
    assert [each.path.name for each in skipped] == ["000.png", "001.png", "002.png", "003.png"]


def test_too_few_photos_that_can_be_read_are_told(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioned, "MIN_PHOTOS", 20)
    table = nicknamed(tmp_path / "photos", 21)
    for i in range(4):
        (tmp_path / "photos" / f"00{i}.png").write_text("broken")
    with pytest.raises(BadManifest) as caught:
        adapt(table, model="tiny")
    assert str(caught.value) == (
        f"the caption file {table} cannot be used: it has captions for 17 photos, and adapting needs at least 20; "
        "4 more are not there or cannot be read."
    )


def test_a_gain_is_told_with_its_interval(surely: Verdict) -> None:
    assert gain(surely) == "held-out R@10 50.0 -> 60.0 %, difference 10.0 [5.0, 15.0]"


@pytest.mark.parametrize(
    ("adapted", "end"), [("new", "added the model new"), (None, "not surely better, so nothing was changed")]
)
def test_the_summary_says_what_was_done(surely: Verdict, adapted: str | None, end: str) -> None:
    done = Adaptation("tiny", adapted, 210, 420, 0, 3, 0, surely, 1.0)
    assert summary(done) == f"held-out R@10 50.0 -> 60.0 %, difference 10.0 [5.0, 15.0]: {end}"


def test_the_manifest_of_the_new_model_is_plain_json(done: Adaptation) -> None:
    assert json.loads((registry.find("mine") / "model.json").read_text())["metrics"]["photos"] == PHOTOS
