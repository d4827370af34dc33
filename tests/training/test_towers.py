"""The loop, the export and a whole recipe, on tiny synthetic data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mmsearch.retrieval.training import export  # noqa: E402
from mmsearch.retrieval.training.batches import PhotoPool, Views, changed  # noqa: E402
from mmsearch.retrieval.training.image_stage import ImageImitation, ImageWeights, PhotoTargets, recalls  # noqa: E402
from mmsearch.retrieval.training.image_tower import ImageTower, ImageTowerShape  # noqa: E402
from mmsearch.retrieval.training.joint_stage import JointHead  # noqa: E402
from mmsearch.retrieval.training.loop import Schedule, fit  # noqa: E402
from mmsearch.retrieval.training.pool import Shelf  # noqa: E402
from mmsearch.retrieval.training.refit import start_head  # noqa: E402
from mmsearch.retrieval.training.sources import Source  # noqa: E402
from mmsearch.retrieval.training.text_tower import TextTower, TextTowerShape  # noqa: E402
from mmsearch.retrieval.training.tokenizing import token_array, train_tokenizer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own deprecations

SIDE, DIM = 32, 16
IMAGE = ImageTowerShape(stem=8, widths=(8, 16), depths=(0, 1), last=32, dim=DIM, teacher_dim=8)
TEXT = TextTowerShape(vocabulary=40, context=12, width=16, heads=2, depth=1, dim=DIM)


def objective() -> ImageImitation:
    """Sixteen plain-coloured photos whose targets depend on the colour."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (16, 1, 1, 3), dtype=np.uint8)
    pixels = np.broadcast_to(colours, (16, SIDE, SIDE, 3)).copy()
    shelf = Shelf(Source("x", "folders", "."), Path(), [{} for _ in pixels], pixels)
    flat = colours.reshape(16, 3).astype(np.float32) / 128 - 1
    features = flat @ rng.standard_normal((3, 8), dtype=np.float32)
    joint = flat @ rng.standard_normal((3, DIM), dtype=np.float32)
    joint /= np.linalg.norm(joint, axis=1, keepdims=True)
    targets = PhotoTargets(features, joint, np.ones(16), np.ones(16, dtype=bool))
    return ImageImitation(PhotoPool([shelf], [np.arange(16)]), targets, {}, ImageWeights(views=Views(SIDE, 24)))


def train(folder: Path, steps: int, optimizer: str = "adamw") -> Any:
    torch.manual_seed(1)
    schedule = Schedule(
        steps=steps, batch=8, shape="constant", warmup=0, optimizer=optimizer,
        save_every=10, log_every=5, measure_every=99,
    )  # fmt: skip
    return fit(ImageTower(IMAGE), objective(), schedule, folder, seed=3, stage="image", progress=lambda _: None)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_twenty_steps_lower_the_loss_and_are_logged_line_by_line(tmp_path: Path, optimizer: str) -> None:
    train(tmp_path, 20, optimizer)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path, optimizer: str) -> None:
    whole = train(tmp_path / "whole", 20, optimizer)
    train(tmp_path / "halves", 10, optimizer)
    halves = train(tmp_path / "halves", 20, optimizer)
    for one, other in zip(whole.state_dict().values(), halves.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_image_file_answers_as_torch_does_for_any_number_of_photos(tmp_path: Path) -> None:
    tower = ImageTower(IMAGE).eval()
    export.export_image(tower, tmp_path / "image.onnx", SIDE)
    export.halve_weights(tmp_path / "image.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    rows = export.session(tmp_path / "image.onnx").run(["embedding"], {"pixels": pixels})[0]
    with torch.no_grad():
        wanted = export.ImageGraph(tower)(torch.from_numpy(pixels)).numpy()
    assert rows.shape == (3, DIM)
    assert export.worst_cosine(rows, wanted) > 0.9999


def test_a_mirrored_photo_has_the_same_row_where_the_file_averages_both_views(tmp_path: Path) -> None:
    export.export_image(ImageTower(IMAGE).eval(), tmp_path / "image.onnx", SIDE, mirror=True)
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    session = export.session(tmp_path / "image.onnx")
    rows, mirrored = (session.run(None, {"pixels": shown})[0] for shown in (pixels, pixels[:, :, ::-1].copy()))
    np.testing.assert_allclose(rows, mirrored, atol=1e-5)


def test_of_the_last_map_a_row_has_the_means_and_the_spread() -> None:
    tower = ImageTower(IMAGE).eval()
    pixels = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, SIDE, SIDE), dtype=np.float32))
    with torch.no_grad():
        maps, pooled = tower.trunk(pixels).numpy(), tower.pooled(pixels).numpy()
    assert pooled.shape == (2, 64)
    np.testing.assert_allclose(pooled[:, :32], maps.mean(axis=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(pooled[:, 32:], np.sqrt(maps.var(axis=(2, 3)) + 1e-4), atol=1e-5)


def test_a_new_head_starts_where_the_towers_own_last_layer_stood() -> None:
    tower = ImageTower(IMAGE).eval()
    pooled = np.abs(np.random.default_rng(0).standard_normal((50, 64), dtype=np.float32))
    head = start_head(tower, JointHead(10, DIM), pooled, inner=8, dropout=0.0)
    head.bent[-1].weight.data.zero_()  # type: ignore[operator]
    with torch.no_grad():
        embed: Any = tower.embed
        wanted = torch.nn.functional.normalize(embed(torch.from_numpy(pooled)), dim=-1)
        answered = head.eval().images(torch.from_numpy(pooled))
    np.testing.assert_allclose(answered.numpy(), wanted.numpy(), atol=1e-4)


def test_the_text_file_answers_as_torch_does_and_padding_changes_nothing(tmp_path: Path) -> None:
    tower = TextTower(TEXT).eval()
    export.export_text(tower, tmp_path / "text.onnx")
    session = export.session(tmp_path / "text.onnx")
    tokens = np.array([[2, 7, 9, 3, 0, 0], [2, 5, 3, 0, 0, 0]])
    rows = session.run(["embedding"], {"tokens": tokens})[0]
    with torch.no_grad():
        wanted = tower(torch.from_numpy(tokens)).numpy()
    np.testing.assert_allclose(rows, wanted, atol=1e-5)
    np.testing.assert_allclose(session.run(["embedding"], {"tokens": tokens[1:, :3]})[0], rows[1:], atol=1e-5)


def test_a_quantised_text_tower_that_strays_is_given_up(tmp_path: Path) -> None:
    export.export_text(TextTower(TEXT).eval(), tmp_path / "plain.onnx")
    export.export_text(TextTower(TEXT).eval(), tmp_path / "text.onnx")  # other random weights
    plain = (tmp_path / "plain.onnx").read_bytes()
    assert not export.keep_faithful(
        tmp_path / "plain.onnx", tmp_path / "text.onnx", {"tokens": np.array([[2, 5, 3]])}, 0.995
    )
    assert (tmp_path / "text.onnx").read_bytes() == plain


def test_the_tokenizer_lowers_folds_accents_and_closes_long_texts() -> None:
    tokenizer = train_tokenizer(["a café on the beach", "the dog on a beach"] * 3, 60)
    one, other = token_array(tokenizer, ["A Café", "a cafe"], 8)
    assert one.tolist() == other.tolist()
    (long,) = token_array(tokenizer, ["the dog on a beach " * 9], 8)
    assert long[-1] == tokenizer.token_to_id("[SEP]")


def test_views_keep_the_shape_and_depend_on_the_generator_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    views = Views(side=20, crop=24, grey=0.5, jitter=0.1)
    one, other = (changed(pixels, views, np.random.default_rng([5, 9])) for _ in range(2))
    assert one.shape == (4, 3, 20, 20)
    assert torch.equal(one, other)


def test_recall_counts_ties_against_the_wanted_row() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.5, 0.5, 0.5], [0.3, 0.2, 0.1]])
    assert recalls(scores, np.array([0, 1, 2]), ks=(1, 2)) == {"r1": 33.33, "r2": 33.33, "median_rank": 3.0}


def make_data(root: Path) -> None:
    """Twenty-four plain photos in six colours, captioned; the last six are development photos."""
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3, "black": (0,) * 3}
    lines = ["split,image,caption"]
    rng = np.random.default_rng(0)
    for number in range(24):
        name, colour = list(colours.items())[number % len(colours)]
        noise = rng.integers(0, 60, (SIDE, SIDE, 3))
        Image.fromarray(np.clip(np.array(colour) + noise - 30, 0, 255).astype(np.uint8)).save(root / f"{number}.png")
        split = "dev" if number >= 18 else "train"
        lines += [f"{split},{number}.png,a {name} wall", f"{split},{number}.png,the wall is {name}"]
    (root / "captions.csv").write_text("\n".join(lines) + "\n")


RECIPE = """
name = "tiny"
seed = 1
side = 32
[pool]
apart_bits = -1
[[source]]
name = "walls"
kind = "captions"
path = "captions.csv"
[text]
vocabulary = 60
shape = {context = 12, width = 16, heads = 2, depth = 1, dim = 16}
schedule = {steps = 4, batch = 8}
[joint]
schedule = {steps = 4, batch = 6}
[image]
stem = 8
widths = [8, 16]
depths = [0, 1]
last = 32
dim = 16
teacher_dim = 6
[[stage]]
name = "imitate"
views = {side = 24, crop = 28}
weights = {captions = 0.2, share = 0.5, bank = 10}
schedule = {steps = 4, batch = 8}
[tune]
bank = 5
schedule = {steps = 3, batch = 6}
[refit]
inner = 8
guide = [2.0, 0.5]
schedule = {steps = 4, batch = 6}
[export]
mirror = true
"""


def test_a_recipe_becomes_a_model_directory_and_a_second_run_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsearch.retrieval.training import train_towers

    make_data(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    monkeypatch.setenv("MMSEARCH_DATA", str(tmp_path))
    folder = tmp_path / "work" / "pool" / "walls"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.save(folder / "features.npy", rng.standard_normal((24, 10)).astype(np.float16))
    np.save(folder / "scores.npy", np.zeros((24, 0), dtype=np.float16))
    model = train_towers(tmp_path / "recipe.toml", out=tmp_path / "work", progress=lambda _: None)
    facts = json.loads((model / "model.json").read_text())
    assert facts["dim"] == 16
    assert facts["fingerprint"] == export.fingerprint(model)
    assert set(facts["null"]["text"]) == {"image", "text"}
    assert facts["metrics"]["walls_r10"] == 100.0  # six photos
    files = ["bank.npy", "image.onnx", "model.json", "text.onnx", "tokenizer.json"]
    assert sorted(path.name for path in model.iterdir()) == files
    again = train_towers(tmp_path / "recipe.toml", out=tmp_path / "work", progress=lambda _: None)
    assert json.loads((again / "model.json").read_text()) == facts
