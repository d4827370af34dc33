from __future__ import annotations

import shutil
import sys
import warnings
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.models import make_tiny_model

from mmsearch import Library
from mmsearch.index.errors import DeviceUnavailable, UsageError
from mmsearch.retrieval import devices


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda name: object())
    monkeypatch.setattr(devices, "_DRIVER_FILES", ())
    monkeypatch.setattr(shutil, "which", lambda name: None)


class FakeCuda:
    count = 2
    said = ""

    @staticmethod
    def is_available() -> bool:
        if FakeCuda.said:
            warnings.warn(FakeCuda.said, stacklevel=2)
        return FakeCuda.count > 0

    @staticmethod
    def device_count() -> int:
        return FakeCuda.count


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, no_driver: None, tmp_path: Path) -> None:
    torch = type(sys)("torch")
    torch.cuda = FakeCuda  # type: ignore[attr-defined]
    torch.__version__ = "2.15.0"  # type: ignore[attr-defined]
    torch.version = SimpleNamespace(cuda="13.2")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(devices, "_multiply", lambda index: "multiplied")
    devices._works.cache_clear()
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
        ("cuda:01", "cuda:1"),
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


def test_why_torch_finds_no_gpu_is_told(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCuda, "count", 0)
    monkeypatch.setattr(FakeCuda, "said", "CUDA initialization: The NVIDIA driver is too old.\nUpdate it.")
    with pytest.raises(DeviceUnavailable) as caught:
        devices.choose("cuda")
    assert str(caught.value) == (
        "the device cuda cannot be used: torch finds no GPU that it can use (CUDA initialization: The NVIDIA driver is "
        "too old). `mmsearch doctor` says what is there."
    )


def test_a_torch_without_cuda_is_named(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCuda, "count", 0)
    monkeypatch.setattr(sys.modules["torch"], "version", SimpleNamespace(cuda=None))
    with pytest.raises(DeviceUnavailable, match=r"torch 2\.15\.0 was built without CUDA"):
        devices.choose("cuda:0")


def no_kernel(index: int) -> str:
    if index == 0:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile with")
    return "multiplied"


def test_a_gpu_without_kernels_is_passed_over_and_refused_by_name(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_multiply", no_kernel)
    assert devices.choose("cuda") == devices.choose("auto") == "cuda:1"
    with pytest.raises(DeviceUnavailable) as caught:
        devices.choose("cuda:1,cuda:0")
    assert str(caught.value) == (
        "the device cuda:0 cannot be used: CUDA error: no kernel image is available for execution on the device. "
        "`mmsearch doctor` says what is there."
    )
    monkeypatch.setattr(FakeCuda, "count", 1)
    assert devices.choose("auto") == "cpu"
    with pytest.raises(DeviceUnavailable, match="no kernel image"):
        devices.choose("cuda")
    assert devices._used().startswith("everything runs on the CPU: CUDA error: no kernel image is available")


def test_a_kernel_is_tried_once_where_it_runs_and_anew_where_not(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    monkeypatch.setattr(devices, "_multiply", lambda index: (tried.append(index), no_kernel(index))[1])  # type: ignore[func-returns-value]
    for _ in range(2):
        assert devices.choose("auto") == "cuda:1"
    assert tried == [0, 1, 0]


def test_a_gpu_without_a_driver_is_refused(no_driver: None) -> None:
    with pytest.raises(DeviceUnavailable) as caught:
        devices.choose("cuda:0")
    assert str(caught.value) == (
        "the device cuda:0 cannot be used: no NVIDIA driver is loaded. `mmsearch doctor` says what is there."
    )


def test_a_library_on_a_gpu_that_is_not_there_is_refused(no_driver: None, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="the device cuda:1 cannot be used: no NVIDIA driver is loaded"):
        Library.open(tmp_path / "lib", model=str(make_tiny_model(tmp_path / "tiny")), device="cuda:1")


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

    monkeypatch.setattr("importlib.metadata.version", missing)
    found = {finding.what: finding for finding in devices.diagnose()}
    assert found["torch"] == ("torch", "missing", "optional: pip install 'mmsearch[gpu]'")


def test_without_a_gpu_the_diagnosis_says_why_the_cpu_is_used(no_driver: None) -> None:
    assert devices._gpus() == [
        ("cuda", "missing", "no NVIDIA driver is loaded"),
        ("auto", "ok", "everything runs on the CPU: no NVIDIA driver is loaded"),
    ]


@pytest.fixture
def diagnosed(two_gpus: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str | None]:
    """Two GPUs whose FAISS has the faults of this dictionary, by number."""
    faults: dict[str, str | None] = {"0": None, "1": None}
    version = tmp_path / "version"
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Tue Oct 7 2025\n")
    monkeypatch.setattr(devices, "_DRIVER_FILES", (version,))
    monkeypatch.setattr(devices, "_multiply", lambda index: f"multiplied matrices on card {index}")
    monkeypatch.setattr("mmsearch.index.faiss_gpu.forms", lambda faiss: ("flat", "ivfpq"))
    monkeypatch.setitem(sys.modules, "faiss", SimpleNamespace(__version__="1.15"))
    installed = {"faiss": ["faiss-gpu-cuvs", "faiss-cpu", "faiss-cpu"]}
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: installed)
    monkeypatch.setattr("mmsearch.index.faiss_gpu.fault", lambda index: faults[str(index)])
    return faults


def test_the_diagnosis_tells_of_driver_cards_searches_and_use(diagnosed: dict[str, str | None]) -> None:
    diagnosed["1"] = "its kernel test died of signal 6: no kernel image is available"
    assert devices._gpus() == [
        ("driver", "ok", "580.159.04"),
        ("cuda:0", "ok", "multiplied matrices on card 0"),
        (
            "faiss on cuda:0",
            "ok",
            "FAISS 1.15 (faiss-cpu, faiss-gpu-cuvs) found 64 of 64 vectors as NumPy does; can hold them as flat, ivfpq",
        ),
        ("cuda:1", "ok", "multiplied matrices on card 1"),
        (
            "faiss on cuda:1",
            "broken",
            "its kernel test died of signal 6: no kernel image is available; torch searches there instead",
        ),
        (
            "auto",
            "ok",
            "indexing embeds on cuda:0,cuda:1 by torch, with models that have torch weights; queries run on the CPU, "
            "which is ready before torch is imported, unless a device is named: then towers and vectors are on cuda:0",
        ),
    ]


def test_a_faiss_without_gpu_support_is_missing_not_broken(
    diagnosed: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    diagnosed["0"] = "this FAISS has no GPU support"
    monkeypatch.setattr("mmsearch.index.faiss_gpu.forms", lambda faiss: ())
    assert devices._card_search(0) == (
        "faiss on cuda:0", "missing", "this FAISS has no GPU support; torch searches there instead"
    )  # fmt: skip


def test_a_faiss_that_does_not_import_is_broken(
    diagnosed: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert devices._card_search(0) == (
        "faiss on cuda:0", "broken", "ModuleNotFoundError: import of faiss halted; None in sys.modules"
    )  # fmt: skip


def test_a_card_that_multiplies_wrongly_is_broken(
    diagnosed: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(index: int) -> str:
        raise RuntimeError("a matrix product of ones is wrong")

    monkeypatch.setattr(devices, "_multiply", wrong)
    assert devices._card(0) == ("cuda:0", "broken", "RuntimeError: a matrix product of ones is wrong")
