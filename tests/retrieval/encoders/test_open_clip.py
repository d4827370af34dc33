"""open_clip models exported, and run in torch, against open_clip itself."""

from __future__ import annotations

import gc
import json
import os
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.clip_models import make_tiny_clip
from tests.retrieval.encoders.contract import TEXTS, EncoderContract, pictures

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
pytest.importorskip("onnxscript")

from mmsearch.index.errors import DeviceUnavailable, ModelInvalid  # noqa: E402
from mmsearch.retrieval.decode import photos  # noqa: E402
from mmsearch.retrieval.encoders import exporting, model_directory, open_clip_tokenizer, registry, samples  # noqa: E402
from mmsearch.retrieval.encoders.base import Encoder  # noqa: E402
from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder  # noqa: E402
from mmsearch.retrieval.encoders.open_clip_export import add, load, parse  # noqa: E402
from mmsearch.retrieval.encoders.spread_encoder import SpreadEncoder  # noqa: E402
from mmsearch.retrieval.encoders.torch_encoder import TorchEncoder  # noqa: E402
from mmsearch.retrieval.encoders.towers import padding  # noqa: E402
from mmsearch.retrieval.types import Preprocess  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # torch and open_clip warn about themselves


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_clip(tmp_path_factory.mktemp("open_clip") / "tiny-clip")


@pytest.fixture(scope="module")
def original(clip: Path) -> exporting.Original:
    return load(parse(str(clip)), str(clip))


@pytest.fixture(scope="module")
def added(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    add(str(clip), name="tiny-clip", directory=directory)
    return directory / "tiny-clip"


def their_texts(original: exporting.Original, texts: list[str]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(original.model.encode_text(original.tokenizer(texts), normalize=True))


def their_images(original: exporting.Original, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    prepared = torch.stack([original.preprocess(Image.fromarray(picture)) for picture in pixels])
    with torch.inference_mode():
        return np.asarray(original.model.encode_image(prepared, normalize=True))


@pytest.mark.parametrize("kind", ["onnx", "torch"])
class TestEncoders(EncoderContract):
    @pytest.fixture
    def encoder(self, added: Path, kind: str) -> Iterator[Encoder]:
        encoder: Encoder = OnnxEncoder(added, threads=1) if kind == "onnx" else TorchEncoder(added, "cpu")
        yield encoder
        encoder.close()

    def test_texts_are_where_open_clip_has_them(self, encoder: Encoder, original: exporting.Original) -> None:
        cosine = (encoder.texts(samples.CAPTIONS) * their_texts(original, samples.CAPTIONS)).sum(axis=1)
        assert cosine.min() > 0.999

    def test_pictures_are_where_open_clip_has_them(self, encoder: Encoder, original: exporting.Original) -> None:
        pixels = np.stack([photos.load(picture, encoder.card.preprocess) for picture in samples.pictures(8)])
        assert (encoder.images(pixels) * their_images(original, pixels)).sum(axis=1).min() > 0.999


def test_both_encoders_agree(added: Path) -> None:
    onnx, clip = OnnxEncoder(added), TorchEncoder(added, "cpu")
    assert (onnx.texts(TEXTS) * clip.texts(TEXTS)).sum(axis=1).min() > 0.999
    pixels = pictures(onnx, 4)
    assert (onnx.images(pixels) * clip.images(pixels)).sum(axis=1).min() > 0.998  # noise is no photo


def test_the_card_says_what_was_kept_and_measured(added: Path, clip: Path) -> None:
    model = model_directory.read(added, verify=True)
    card = model.card
    assert (card.name, card.dim, card.context_length, model.source) == ("tiny-clip", 24, 20, str(clip))
    assert card.preprocess == Preprocess(32, "shortest", "bicubic", (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    assert card.metrics["tried_on"] == "202 captions and 16 made-up pictures"
    assert set(card.null) == set(card.null["text"]) == {"text", "image"}


def test_the_spread_of_unrelated_pairs_leaves_out_a_text_and_itself(added: Path, original: exporting.Original) -> None:
    rows = their_texts(original, samples.CAPTIONS)
    pairs = (rows @ rows.T)[~np.eye(len(rows), dtype=bool)]
    null = model_directory.read(added).card.null["text"]["text"]
    np.testing.assert_allclose(null, (pairs.mean(), pairs.std()), atol=1e-4)


def test_a_tower_is_in_eight_bits_only_where_no_row_moves_much(added: Path) -> None:
    metrics = model_directory.read(added).card.metrics
    assert metrics["image"]["precision"] == "int8"
    assert metrics["image"]["min_cosine"] >= 0.999
    assert metrics["text"]["precision"] == "fp32"  # so narrow a tower is too coarse in eight bits
    assert metrics["text"]["min_cosine"] > 0.99999 > 0.999 > metrics["text"]["int8_min_cosine"]


@pytest.mark.parametrize(
    ("cosines", "bits", "precision"),
    [((0.9995, 0.9999), 7, "int8"), ((0.998, 0.9995), 8, "int8"), ((0.99, 0.998), None, "fp32")],
)
def test_the_quickest_weights_that_keep_the_rows_are_taken(
    cosines: tuple[float, float], bits: int | None, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    known = {"exact": 1.0, "7": cosines[0], "8": cosines[1]}
    graphs = {name: onnx.ModelProto(doc_string=name) for name in known}
    monkeypatch.setattr(exporting, "_graph", lambda tower, inputs: graphs["exact"])
    monkeypatch.setattr(exporting, "quantised", lambda exact, bits: graphs[str(bits)])
    monkeypatch.setattr(exporting, "_worst_cosine", lambda graph, inputs, wanted: known[graph.doc_string])
    nothing = np.empty((0, 1), np.float32)
    kept = exporting._tower(torch.nn.Identity(), nothing, nothing, tmp_path / "image.onnx", "m")
    assert (kept["precision"], kept.get("weight_bits")) == (precision, bits)
    assert onnx.load(tmp_path / "image.onnx").doc_string == ("exact" if bits is None else str(bits))


def test_the_tokenizers_agree_on_five_hundred_texts(added: Path, original: exporting.Original) -> None:
    assert len(set(samples.probes())) >= 500
    open_clip_tokenizer.check(model_directory.read(added), original.tokenizer)


def hugging_face_clip(directory: Path, **text: Any) -> Path:
    """A tiny model whose tokenizer is one of transformers, as SigLIP's is."""
    transformers = pytest.importorskip("transformers")
    from tests.models import make_tiny_model

    clip = make_tiny_clip(directory, text={"hf_tokenizer_name": "here", **text})
    file = make_tiny_model(directory.with_suffix(".tiny")) / "tokenizer.json"
    transformers.PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token="[PAD]").save_pretrained(clip)
    return clip


def test_a_tokenizer_of_transformers_is_exported(tmp_path: Path, added: Path) -> None:
    clip = hugging_face_clip(tmp_path / "m", tokenizer_kwargs={"clean": "canonicalize"})
    loaded = load(parse(str(clip)), "m")
    tokenizer, text = open_clip_tokenizer.converted(loaded.tokenizer, "context", "m")
    assert (text.clean, text.pad, text.pad_id) == ("canonicalize", "context", 0)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = replace(model_directory.read(added), path=tmp_path, text=text)
    open_clip_tokenizer.check(model, loaded.tokenizer)


def test_a_tokenizer_that_takes_separators_out_is_refused(tmp_path: Path) -> None:
    clip = hugging_face_clip(tmp_path / "m", tokenizer_kwargs={"strip_sep_token": True})
    with pytest.raises(ModelInvalid, match=r"its tokenizer \(HFTokenizer\) cannot be exported"):
        add(str(clip), directory=tmp_path / "models")


def test_a_tokenizer_that_differs_is_noticed(added: Path, original: exporting.Original) -> None:
    model = model_directory.read(added)
    careless = replace(model, text=replace(model.text, clean=None))
    with pytest.raises(ModelInvalid, match="its exported tokenizer differs on"):
        open_clip_tokenizer.check(careless, original.tokenizer)


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_the_pixels_agree_on_fifty_pictures(clip: Path, tmp_path: Path, mode: str) -> None:
    other = make_tiny_clip(tmp_path / "m", resize_mode=mode)
    loaded = load(parse(str(other)), "m")
    grey = [picture.convert("L") for picture in samples.pictures(5, seed=3)]
    exporting.check_preprocessing(loaded, exporting.preprocessing(loaded), [*samples.pictures(50, seed=2), *grey])


def test_preprocessing_that_differs_is_noticed(original: exporting.Original) -> None:
    wrong = replace(exporting.preprocessing(original), interpolation="bilinear")
    with pytest.raises(ModelInvalid, match="its preprocessing differs on a picture of"):
        exporting.check_preprocessing(original, wrong, samples.pictures(1))


def test_padding_to_the_longest_side_is_refused(tmp_path: Path) -> None:
    clip = make_tiny_clip(tmp_path / "m", resize_mode="longest")
    with pytest.raises(ModelInvalid, match=r"cannot be prepared as it wants \(size \(32, 32\), resize longest\)"):
        add(str(clip), directory=tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_broken_checkpoint_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    broken = make_tiny_clip(tmp_path / "broken")
    (broken / "open_clip_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelInvalid, match="open_clip cannot load it"):
        add(str(broken), directory=tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_gpu_runs_the_torch_weights(added: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Path, str]] = []
    monkeypatch.setattr("mmsearch.retrieval.devices.choose", lambda device: "cuda:1")
    monkeypatch.setattr("mmsearch.retrieval.encoders.torch_encoder.TorchEncoder", lambda *given: made.append(given))
    registry.load(str(added), device="auto")
    assert made == [(added, "cuda:1")]


def test_torch_needs_torch_weights(tiny: Path) -> None:
    with pytest.raises(ModelInvalid, match="it has no torch weights, only ONNX"):
        TorchEncoder(tiny, "cpu")


def test_a_model_that_does_not_fit_is_said_so(added: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(open_clip, "create_model", full)
    with pytest.raises(DeviceUnavailable, match="the device cuda:0 cannot be used: its memory does not hold the model"):
        TorchEncoder(added, "cuda:0")


def test_half_the_precision_of_a_gpu_moves_no_row_far(added: Path) -> None:
    full, half = TorchEncoder(added, "cpu"), TorchEncoder(added, "cpu", "pure_bf16")
    assert (full.texts(TEXTS) * half.texts(TEXTS)).sum(axis=1).min() > 0.999
    pixels = np.stack([photos.load(picture, full.card.preprocess) for picture in samples.pictures(8)])
    assert (full.images(pixels) * half.images(pixels)).sum(axis=1).min() > 0.999
    assert half.images(pixels).dtype == np.float32


def test_pictures_may_be_tensors(added: Path) -> None:
    encoder = TorchEncoder(added, "cpu")
    pixels = pictures(encoder, 3)
    np.testing.assert_array_equal(encoder.images(torch.from_numpy(pixels)), encoder.images(pixels))


def test_the_time_of_the_towers_is_counted(added: Path) -> None:
    encoder = TorchEncoder(added, "cpu")
    assert encoder.busy_s == 0
    encoder.texts(["a"])
    before = encoder.busy_s
    encoder.images(pictures(encoder, 3))
    assert 0 < before < encoder.busy_s


def test_close_gives_the_weights_back(added: Path) -> None:
    encoder = TorchEncoder(added, "cpu")
    encoder.images(pictures(encoder, 1))
    held = [weakref.ref(tower._module) for tower in encoder._towers]
    encoder.close()
    encoder.close()
    gc.collect()
    assert [module() for module in held] == [None, None]
    with pytest.raises(RuntimeError, match="this encoder was closed"):
        encoder.texts(["a"])


def test_several_devices_give_the_rows_of_one_in_order(added: Path) -> None:
    one = TorchEncoder(added, "cpu")
    several = SpreadEncoder(one.card, [lambda: TorchEncoder(added, "cpu")] * 3)
    texts = [f"{text} {i}" for i in range(9) for text in TEXTS]
    np.testing.assert_allclose(several.texts(texts), one.texts(texts), atol=1e-5)
    pixels = pictures(one, 50)
    np.testing.assert_allclose(several.images(pixels), one.images(pixels), atol=1e-5)
    several.close()


def test_a_model_without_a_causal_mask_is_padded_to_its_context(tmp_path: Path) -> None:
    loaded = load(parse(str(make_tiny_clip(tmp_path / "m"))), "m")
    loaded.model.attn_mask = None
    assert padding(loaded.model) == "context"


@pytest.mark.skipif("MMSEARCH_SLOW_TESTS" not in os.environ, reason="takes minutes; set MMSEARCH_SLOW_TESTS=1")
def test_a_full_size_model_is_exported_and_queried(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from mmsearch import Library

    torch.manual_seed(0)
    weights = open_clip.create_model("ViT-B-32").state_dict()
    save_file({key: value.clone() for key, value in weights.items()}, tmp_path / "w.safetensors")
    card = add(f"ViT-B-32:{tmp_path}/w.safetensors", name="b32", directory=tmp_path / "models")
    print(json.dumps(dict(card.metrics)))
    assert min(card.metrics[tower]["min_cosine"] for tower in ("image", "text")) >= 0.999
    for i, picture in enumerate(samples.pictures(3)):
        (tmp_path / "photos").mkdir(exist_ok=True)
        picture.save(tmp_path / "photos" / f"{i}.png")
    with Library.open(tmp_path / "lib", model=str(tmp_path / "models" / "b32")) as library:
        assert library.index([tmp_path / "photos"]).added == 3
        assert len(library.query("a dog on a beach", k=3)) == 3
