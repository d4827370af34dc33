from __future__ import annotations

import shutil
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from tests.models import make_tiny_model

from mmsearch.index.errors import DeviceUnavailable, UsageError
from mmsearch.retrieval import devices


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda name: object())
    monkeypatch.setattr(devices, "_DRIVER_FILES", ())
    monkeypatch.setattr(shutil, "which", lambda name: None)


class FakeCuda:
    count = 2

    @staticmethod
    def is_available() -> bool:
        return FakeCuda.count > 0

    @staticmethod
    def device_count() -> int:
        return FakeCuda.count


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, no_driver: None, tmp_path: Path) -> None:
    torch = type(sys)("torch")
    torch.cuda = FakeCuda  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(devices, "_DRIVER_FILES", (tmp_path,))


def test_the_cpu_is_always_there() -> None:
    assert devices.choose("cpu") == "cpu"


def test_auto_without_a_driver_is_the_cpu_and_imports_no_torch(no_driver: None) -> None:
    before = "torch" in sys.modules
    assert devices.choose("auto") == "cpu"
    assert ("torch" in sys.modules) == before


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("auto", "cuda:0,cuda:1"),
        ("cuda", "cuda:0,cuda:1"),
        ("cuda:1", "cuda:1"),
        ("cuda:1,cuda:0", "cuda:1,cuda:0"),
        ("cuda:1,cuda:1", "cuda:1"),
    ],
)
def test_a_gpu_is_chosen_where_there_is_one(two_gpus: None, wanted: str, chosen: str) -> None:
    assert devices.choose(wanted) == chosen


def test_a_gpu_beyond_the_last_is_refused(two_gpus: None) -> None:
    for wanted in ("cuda:2", "cuda:0,cuda:2"):
        with pytest.raises(DeviceUnavailable, match="device cuda:2 cannot be used: the GPUs here are numbered 0 to 1"):
            devices.choose(wanted)


def test_a_gpu_that_torch_cannot_use_is_refused(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCuda, "count", 0)
    assert devices.choose("auto") == "cpu"
    with pytest.raises(DeviceUnavailable, match="torch finds no GPU that it can use"):
        devices.choose("cuda")


def test_a_gpu_without_a_driver_is_refused(no_driver: None) -> None:
    with pytest.raises(DeviceUnavailable) as caught:
        devices.choose("cuda:0")
    assert str(caught.value) == (
        "the device cuda:0 cannot be used: no NVIDIA driver is loaded. `mmsearch doctor` says what is there."
    )


def test_a_gpu_without_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    with pytest.raises(DeviceUnavailable, match=r"pip install 'mmsearch\[gpu\]'"):
        devices.choose("cuda")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "", "CPU", "cuda:0,", "cuda:0,cpu"])
def test_another_device_is_a_usage_error(device: str) -> None:
    with pytest.raises(UsageError) as caught:
        devices.choose(device)
    assert str(caught.value) == f"there is no device {device!r}; there are auto, cpu, cuda, cuda:N and cuda:N,cuda:M"


def test_the_diagnosis_runs_a_kernel_on_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_tiny_model(tmp_path / "bundled")
    monkeypatch.setattr("mmsearch.retrieval.encoders.registry._bundled", lambda: model)
    found = {finding.what: finding for finding in devices.diagnose()}
    assert found["numpy"].state == "ok"
    assert found["faiss"] == ("faiss", "ok", "found 8 of 8 vectors")
    assert found["cpu"] == ("cpu", "ok", "embedded a text and a picture with the model bundled, 32 dimensions")


def test_the_diagnosis_tells_what_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_tiny_model(tmp_path / "bundled")
    (model / "text.onnx").write_bytes(b"damaged")
    monkeypatch.setattr("mmsearch.retrieval.encoders.registry._bundled", lambda: model)
    cpu = next(finding for finding in devices.diagnose() if finding.what == "cpu")
    assert cpu.state == "broken"
    assert "text.onnx cannot be loaded" in cpu.detail


def test_the_diagnosis_names_the_extra_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(devices, "version", missing)
    found = {finding.what: finding for finding in devices.diagnose()}
    assert found["torch"] == ("torch", "missing", "optional: pip install 'mmsearch[gpu]'")
