"""The last steps of a photo, which a GPU takes, on the CPU by the same code."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.models import make_tiny_model

torch = pytest.importorskip("torch")

from mmsearch import Library  # noqa: E402
from mmsearch.index.errors import DeviceUnavailable  # noqa: E402
from mmsearch.index.gpu_faults import faults_named  # noqa: E402
from mmsearch.retrieval import feeding, torch_feeding  # noqa: E402
from mmsearch.retrieval.decode import photos  # noqa: E402
from mmsearch.retrieval.decode.worker import Picture  # noqa: E402
from mmsearch.retrieval.encoders import registry  # noqa: E402
from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder  # noqa: E402
from mmsearch.retrieval.torch_feeding import TorchFinisher, Trial, scaled, turned  # noqa: E402
from mmsearch.retrieval.types import Preprocess  # noqa: E402


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1] // 9 + 2, size[0] // 9 + 2, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(500, 320), (320, 501), (100, 90), (64, 64)])
def test_a_photo_is_scaled_as_pillow_scales_it(resize: Any, interpolation: Any, size: tuple[int, int]) -> None:
    preprocess = Preprocess(64, resize, interpolation)
    image = picture(size)
    target = photos.scaled_size(image, preprocess)
    theirs = photos.scaled(image, target, preprocess).astype(int)
    ours = scaled(torch.from_numpy(np.array(image)), target, preprocess).numpy().astype(int)
    assert ours.shape == (64, 64, 3)
    assert np.abs(ours - theirs).max() <= 3
    assert np.abs(ours - theirs).mean() < 0.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_pillow_turns_it(orientation: int) -> None:
    image = picture((7, 5))
    turn = photos._TURNS.get(orientation)
    theirs = np.array(image if turn is None else image.transpose(turn))
    np.testing.assert_array_equal(turned(torch.from_numpy(np.array(image)), orientation).numpy(), theirs)


def test_a_slot_may_be_filled_anew_at_once() -> None:
    finisher = TorchFinisher("cpu", Preprocess(4))
    slot = np.full(200, 7, np.uint8)
    whole, part = (finisher.finish(slot, Picture((4, 4, 3), size)) for size in (None, (4, 4)))
    slot[:] = 9
    stacked = finisher.stack([whole, part])
    assert stacked.shape == (2, 4, 4, 3)
    assert bool((stacked == 7).all())


def run(trial: Trial, clock: list[float], pixels_s: float, jpeg_s: float, photos: int) -> list[str]:
    ways: list[str] = []
    for _ in range(photos):
        ways.append(trial.want())
        clock[0] += {"pixels": pixels_s, "jpeg": jpeg_s}[ways[-1]]
        trial.count(trial.want())
    return ways


@pytest.mark.parametrize(
    ("pixels_s", "jpeg_s", "rest"), [(3.0, 2.0, "jpeg"), (2.0, 3.0, "pixels"), (2.0, 2.0, "pixels")]
)
def test_each_way_has_a_turn_and_the_quicker_one_the_rest(pixels_s: float, jpeg_s: float, rest: str) -> None:
    clock = [0.0]
    trial = Trial(turn=4, clock=lambda: clock[0])
    ways = run(trial, clock, pixels_s, jpeg_s, 20)
    assert ways[:12] == ["pixels"] * 8 + ["jpeg"] * 4
    assert set(ways[12:]) == {rest}


def test_photos_of_the_turn_before_do_not_count() -> None:
    trial = Trial(turn=2, clock=lambda: 0.0)
    for _ in range(4):
        trial.count("pixels")
    assert trial.want() == "jpeg"
    trial.count("pixels")
    trial.count("jpeg")
    assert trial.want() == "jpeg"


def test_a_decoder_that_fails_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("nvjpeg")

    io = SimpleNamespace(decode_jpeg=refuse, ImageReadMode=SimpleNamespace(RGB=1))
    monkeypatch.setitem(__import__("sys").modules, "torchvision", SimpleNamespace(io=io))
    monkeypatch.setitem(__import__("sys").modules, "torchvision.io", io)
    trial = Trial(turn=1)
    trial.count("pixels")
    trial.count("pixels")
    finisher = TorchFinisher("cpu", Preprocess(4), trial)
    assert finisher.want() == "jpeg"
    with pytest.raises(ValueError, match="the GPU cannot decode it: nvjpeg"):
        finisher.finish(np.zeros(9, np.uint8), Picture((9,), (4, 4)))
    assert finisher.want() == "pixels"


def test_a_torchvision_without_a_decoder_leaves_jpegs_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision.io", SimpleNamespace())
    trial = Trial(turn=1)
    for _ in range(2):
        trial.count("pixels")
    finisher = TorchFinisher("cpu", Preprocess(4), trial)
    assert finisher.want() == "jpeg"
    with pytest.raises(ValueError, match="the GPU cannot decode it: cannot import name"):
        finisher.finish(np.zeros(9, np.uint8), Picture((9,), (4, 4)))
    assert finisher.want() == "pixels"


def short_of_memory(monkeypatch: pytest.MonkeyPatch, of: Any, name: str) -> list[str]:
    """Let the first call find too little memory."""
    calls: list[str] = []
    real = getattr(of, name)

    def first_fails(*given: Any, **named: Any) -> Any:
        calls.append(name)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*given, **named)

    monkeypatch.setattr(of, name, first_fails)
    return calls


def test_a_photo_that_the_gpu_cannot_hold_is_scaled_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = short_of_memory(monkeypatch, torch_feeding, "scaled")
    found = TorchFinisher("cpu", Preprocess(4)).finish(np.full(300, 7, np.uint8), Picture((10, 10, 3), (4, 4)))
    assert len(calls) == 2
    assert bool((found == 7).all())


def test_photos_that_do_not_fit_together_wait_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = short_of_memory(monkeypatch, torch, "stack")
    stacked = TorchFinisher("cpu", Preprocess(4)).stack([torch.zeros(4, 4, 3), torch.ones(4, 4, 3)])
    assert len(calls) == 2
    assert stacked.shape == (2, 4, 4, 3)


class FakeCuda:
    """torch.cuda as far as memory is pinned."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.registered: list[tuple[int, int, int]] = []
        self.unregistered: list[int] = []

    def cudart(self) -> Any:
        return self

    def cudaHostRegister(self, *given: int) -> int:  # noqa: N802 - as CUDA calls it
        self.registered.append(given)  # type: ignore[arg-type]
        return self.code

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        self.unregistered.append(address)
        return 0


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The devices that were current while CUDA was asked for something."""
    devices: list[Any] = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: (devices.append(device), nullcontext())[1])  # type: ignore[func-returns-value]
    return devices


def test_the_memory_of_the_workers_is_pinned_for_the_device_and_unpinned_once(
    guarded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, memory = FakeCuda(0), np.zeros(64, np.uint8)
    monkeypatch.setattr(torch_feeding, "_cuda", cuda)
    finisher = TorchFinisher("cuda:1", Preprocess(4))
    finisher.adopt(memory)
    finisher.close()
    finisher.close()
    assert cuda.registered == [(memory.ctypes.data, 64, 0)]
    assert cuda.unregistered == [memory.ctypes.data]
    assert guarded == [torch.device("cuda:1")] * 2


def test_memory_that_cannot_be_pinned_is_copied_by_the_cpu(guarded: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(2)
    monkeypatch.setattr(torch_feeding, "_cuda", cuda)
    finisher = TorchFinisher("cuda:0", Preprocess(4))
    with pytest.warns(
        UserWarning, match=r"the memory of the workers is not pinned \(CUDA error 2\): copies are slower"
    ):
        finisher.adopt(np.zeros(64, np.uint8))
    finisher.close()
    assert cuda.unregistered == []


def test_the_gpu_decodes_only_when_its_stream_is_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def decode_jpeg(*_: Any, **__: Any) -> Any:
        steps.append("decode")
        return torch.zeros(3, 8, 8, dtype=torch.uint8)

    io = SimpleNamespace(decode_jpeg=decode_jpeg, ImageReadMode=SimpleNamespace(RGB=1))
    monkeypatch.setitem(__import__("sys").modules, "torchvision", SimpleNamespace(io=io))
    monkeypatch.setitem(__import__("sys").modules, "torchvision.io", io)
    monkeypatch.setattr(TorchFinisher, "_wait", lambda finisher: steps.append("wait"))
    TorchFinisher("cpu", Preprocess(4)).finish(np.zeros(9, np.uint8), Picture((9,), (4, 4)))
    assert steps == ["wait", "decode", "wait"]


def test_a_decoded_jpeg_becomes_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture((60, 40))
    planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    io = SimpleNamespace(decode_jpeg=lambda *_, **__: planes, ImageReadMode=SimpleNamespace(RGB=1))
    monkeypatch.setitem(__import__("sys").modules, "torchvision", SimpleNamespace(io=io))
    monkeypatch.setitem(__import__("sys").modules, "torchvision.io", io)
    preprocess = Preprocess(16)
    found = TorchFinisher("cpu", preprocess).finish(np.zeros(9, np.uint8), Picture((9,), (16, 24), orientation=6))
    theirs = photos.scaled(image.transpose(Image.Transpose.ROTATE_270), (16, 24), preprocess)
    assert np.abs(found.numpy().astype(int) - theirs.astype(int)).max() <= 2


class OnTensors(OnnxEncoder):
    """An encoder whose pictures are tensors, as those of a GPU are."""

    busy_s = 0.0

    def images(self, pixels: Any) -> NDArray[np.float32]:
        assert isinstance(pixels, torch.Tensor)
        self.busy_s += 1e-3
        return super().images(pixels.numpy())


class Lost(OnTensors):
    """An encoder whose card is lost at the second batch."""

    def images(self, pixels: Any) -> NDArray[np.float32]:
        if self.busy_s:
            with faults_named("cuda:0"):
                raise RuntimeError("CUDA error: unspecified launch failure")
        return super().images(pixels)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Library.index takes the way of a GPU."""
    monkeypatch.setattr(registry, "place", lambda name, device: "cuda:0")
    monkeypatch.setattr(registry, "load", lambda name, device: OnTensors(registry.find(name), 1))
    monkeypatch.setattr(torch_feeding, "finisher", lambda place, preprocess: TorchFinisher("cpu", preprocess))


def test_a_library_is_indexed_through_workers(on_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[feeding.WorkerFeed] = []
    start = feeding.WorkerFeed.__init__
    monkeypatch.setattr(
        feeding.WorkerFeed,
        "__init__",
        lambda feed, *a, **k: (made.append(feed), start(feed, *a, **k))[1],  # type: ignore[func-returns-value]
    )
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in (("red.jpg", "red"), ("blue.jpg", "blue"), ("green.png", "green")):
        Image.new("RGB", (300, 200), colour).save(folder / name)
    (folder / "bad.jpg").write_bytes(b"no photo")
    with Library.open(tmp_path / "lib", model=str(make_tiny_model(tmp_path / "tiny"))) as library:
        report = library.index([folder], workers=1)
        assert (report.added, [each.path.name for each in report.failures]) == (3, ["bad.jpg"])
        assert report.device_busy is not None
        assert 0 < report.device_busy < 1
        assert made[0]._workers == []  # ended


def test_a_card_that_is_lost_ends_the_run_and_what_was_committed_stays(
    on_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load", lambda name, device: Lost(registry.find(name), 1))
    folder = tmp_path / "photos"
    folder.mkdir()
    for at in range(5):
        Image.new("RGB", (300, 200), (at, 0, 0)).save(folder / f"{at}.png")
    with Library.open(tmp_path / "lib", model=str(make_tiny_model(tmp_path / "tiny"))) as library:
        with pytest.raises(DeviceUnavailable, match="CUDA error: unspecified launch failure; what was done is kept"):
            library.index([folder], workers=1, batch_size=2)
        assert library.status().items == {"image": 2}
