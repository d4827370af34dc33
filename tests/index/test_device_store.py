"""The store of a GPU, run on the CPU: which rows its copy names, and what becomes of changes."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.index import fake_faiss
from tests.index.samples import DIM, assert_level, photo, row, unit

torch = pytest.importorskip("torch")

from tests.index.gpu_stores import FlatStore, TorchStore  # noqa: E402

from mmsearch.index import device_store, faiss_gpu, torch_exact  # noqa: E402
from mmsearch.index.catalog import Catalog  # noqa: E402
from mmsearch.index.device_store import DeviceStore, choose  # noqa: E402
from mmsearch.index.exact import ExactStore  # noqa: E402
from mmsearch.index.indexes import Indexes, store_class  # noqa: E402
from mmsearch.index.items import Root  # noqa: E402
from mmsearch.index.row_store import RowStore  # noqa: E402
from mmsearch.index.torch_exact import TorchScan, products  # noqa: E402
from mmsearch.index.vectors import ROUNDING  # noqa: E402

GB = 10**9
ALL = ("flat", "ivfpq", "cagra")

every_device = pytest.mark.parametrize("store_class", [TorchStore, FlatStore])


def both(store_class: type[DeviceStore], n: int, seed: int = 0) -> tuple[DeviceStore, ExactStore]:
    """A device store and the oracle with the same n vectors, under every third id."""
    store, oracle = store_class(DIM), ExactStore(DIM)
    for each in (store, oracle):
        each.add(np.arange(n) * 3, unit(n, seed))
    return store, oracle


def assert_alike(store: DeviceStore, oracle: ExactStore, k: int, allowed: NDArray[np.int64] | None = None) -> None:
    expected, found = oracle.search(unit(5, seed=99), k, allowed), store.search(unit(5, seed=99), k, allowed)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize(
    ("rows", "free", "can", "form"),
    [
        (1_000_000, 80 * GB, ALL, "flat"),
        (1_000_000, 80 * GB, (), "torch"),
        (10_000_000, 80 * GB, ALL, "flat"),  # 10 GB to read
        (30_000_000, 140 * GB, ALL, "cagra"),
        (30_000_000, 80 * GB, ALL, "flat"),  # a graph would not fit
        (30_000_000, 80 * GB, (), "torch"),
        (30_000_000, 30 * GB, ALL, "ivfpq"),
        (30_000_000, 30 * GB, (), "host"),
        (10_000_000, 20 * GB, ALL, "torch"),  # FAISS would hold it twice while it grows
        (1_000_000_000, 80 * GB, ALL, "host"),
        (10, 0, ALL, "host"),
    ],
)
def test_the_form_follows_from_size_and_memory(rows: int, free: int, can: Any, form: str) -> None:
    assert choose(rows, 512, free, can) == form


@every_device
@pytest.mark.parametrize("k", [1, 7, 300])
def test_answers_are_those_of_the_oracle_after_every_change(store_class: type[DeviceStore], k: int) -> None:
    store, oracle = both(store_class, 200)
    assert_alike(store, oracle, k)
    for each in (store, oracle):
        each.remove(np.arange(0, 300, 2))
        each.add(np.array([1, 2, 4]), unit(3, seed=8))
    assert_alike(store, oracle, k)
    assert_alike(store, oracle, k, np.arange(100))


@every_device
def test_the_copy_is_made_once_and_then_kept_level(
    store_class: type[DeviceStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    fill = DeviceStore._fill
    monkeypatch.setattr(DeviceStore, "_fill", lambda store: (made.append(len(store)), fill(store))[1])  # type: ignore[func-returns-value]
    store, oracle = both(store_class, 50)
    assert made == []  # a store that is only filled needs no device
    for step in range(4):
        assert_alike(store, oracle, 5)
        for each in (store, oracle):
            each.add(np.array([1000 + step]), unit(1, seed=step))
            each.remove(np.array([3 * step]))
    assert_alike(store, oracle, 5)
    assert made == [50]


def test_a_copy_that_has_changed_much_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_store, "FAISS_FROM", 4)
    fake_faiss.built.clear()
    store, oracle = both(FlatStore, 40)
    for removed in (10, 11):
        assert_alike(store, oracle, 5)
        for each in (store, oracle):
            each.remove(np.arange(removed) * 3)
    assert fake_faiss.built == ["GpuIndexFlatIP"]
    assert_alike(store, oracle, 5)
    assert fake_faiss.built == ["GpuIndexFlatIP"] * 2


def test_a_filter_that_lets_few_through_is_answered_exactly() -> None:
    store, oracle = both(FlatStore, 5000)
    assert_alike(store, oracle, 3, np.arange(0, 15_000, 999))
    assert_alike(store, oracle, 3, np.array([6]))
    assert_alike(store, oracle, 3, np.array([7]))  # not stored


def test_more_answers_than_faiss_gives_on_a_gpu_are_all_there() -> None:
    store, oracle = both(FlatStore, 5000)
    assert_alike(store, oracle, 2500)


def test_more_ties_than_faiss_gives_on_a_gpu_keep_their_order() -> None:
    store, oracle = FlatStore(DIM), ExactStore(DIM)
    for each in (store, oracle):
        each.add(np.arange(3000), np.repeat(unit(1), 3000, axis=0))
    assert_alike(store, oracle, 4)


def test_places_that_a_graph_makes_up_are_passed_over() -> None:
    answers = np.array([[0.9, 0.8]], np.float32), np.array([[1, fake_faiss.NO_PLACE]])
    scan = faiss_gpu.FaissScan(np.array([10, 20]), SimpleNamespace(search=lambda queries, k: answers), "cagra")
    found = scan.nearest(unit(1), 1, None)
    assert found is not None
    assert found.ids.tolist() == [[20]]


@pytest.mark.parametrize(("form", "name"), [("ivfpq", "GpuIndexIVFPQ"), ("cagra", "GpuIndexCagra")])
def test_a_coarse_form_is_scored_exactly(form: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_store, "choose", lambda *_: form)
    fake_faiss.built.clear()
    store, oracle = both(FlatStore, 400)
    assert_alike(store, oracle, 5)
    for each in (store, oracle):
        each.remove(np.arange(0, 60, 3))
        each.add(np.array([1]), unit(1, seed=3))
    assert_alike(store, oracle, 5)
    assert_alike(store, oracle, 5, np.arange(0, 600))
    assert fake_faiss.built == [name]


@every_device
def test_the_file_is_that_of_the_cpu(store_class: type[DeviceStore], tmp_path: Path) -> None:
    store, oracle = both(store_class, 30)
    on_cpu = RowStore.load(tmp_path, store.save(tmp_path, "here"))
    np.testing.assert_array_equal(on_cpu.search(unit(2), 4).ids, oracle.search(unit(2), 4).ids)
    assert_alike(store_class.load(tmp_path, on_cpu.save(tmp_path, "there")), oracle, 4)


def full(*_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nSee the documentation")


def test_memory_that_runs_out_leaves_the_search_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    store, oracle = both(TorchStore, 20)
    monkeypatch.setattr(TorchScan, "nearest", full)
    with pytest.warns(RuntimeWarning) as said:
        assert_alike(store, oracle, 3)
    monkeypatch.undo()
    assert [str(each.message) for each in said] == [
        "searching 20 vectors on the CPU, not on cpu: CUDA out of memory. Tried to allocate 2 GiB"
    ]
    assert_alike(store, oracle, 3)
    assert store._fresh is None
    assert store.plan() == "scan (20 rows are few), since cpu failed"


@pytest.mark.parametrize("change", ["add", "remove"])
def test_a_change_that_the_device_cannot_follow_leaves_the_search_to_the_cpu(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, oracle = both(TorchStore, 20)
    assert_alike(store, oracle, 3)
    monkeypatch.setattr(TorchScan, change, full)
    for each in (oracle, store):
        with pytest.warns(RuntimeWarning, match="on the CPU, not on cpu") if each is store else nullcontext():
            each.add(np.array([1]), unit(1, seed=5)) if change == "add" else each.remove(np.array([3]))
    assert_alike(store, oracle, 3)


@pytest.mark.parametrize("failing", ["train", "search"])
def test_where_faiss_fails_torch_searches_on_the_device(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("Error in faiss::gpu: no kernel")

    monkeypatch.setattr(device_store, "choose", lambda rows, dim, free, can: "cagra" if can else "torch")
    monkeypatch.setattr(fake_faiss.GpuIndexCagra, failing, broken)
    store, oracle = both(FlatStore, 30)
    with pytest.warns(RuntimeWarning) as said:
        assert_alike(store, oracle, 3)
    assert [str(each.message) for each in said] == [
        "searching 30 vectors by torch, not by FAISS, on cpu: Error in faiss::gpu: no kernel"
    ]
    assert_alike(store, oracle, 3)  # said once
    assert store._base is None
    assert store._fresh is not None
    assert len(store._fresh) == 30


def test_where_torch_fails_after_faiss_the_cpu_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    store, oracle = both(FlatStore, 30)
    monkeypatch.setattr(fake_faiss.GpuIndexFlatIP, "search", full)
    monkeypatch.setattr(TorchScan, "nearest", full)
    with pytest.warns(RuntimeWarning) as said:
        assert_alike(store, oracle, 3)
    assert ["by torch" in str(each.message) for each in said] == [True, False]


def test_vectors_that_do_not_fit_are_searched_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_store, "free_bytes", lambda device: 100)
    store, oracle = both(TorchStore, 20)
    with pytest.warns(RuntimeWarning, match="20 vectors of 16 dimensions do not fit"):
        assert_alike(store, oracle, 3)
    assert_alike(store, oracle, 3)  # said once


@every_device
def test_close_gives_the_copy_back_and_the_next_search_makes_another(store_class: type[DeviceStore]) -> None:
    import weakref

    store, oracle = both(store_class, 20)
    assert_alike(store, oracle, 3)
    held = [weakref.ref(scan) for scan in (store._base, store._fresh) if scan is not None]
    store.close()
    assert [scan() for scan in held] == [None] * len(held)
    assert_alike(store, oracle, 3)


@every_device
def test_a_library_s_indexes_are_searched_on_the_device_until_they_are_closed(
    store_class: type[DeviceStore], catalog: Catalog, root: Root, tmp_path: Path
) -> None:
    indexes = Indexes(catalog, tmp_path / "vectors", DIM, store_class)
    for seed in range(6):
        catalog.record([photo(root.id, f"{seed}.jpg", row(seed=seed), row("caption", seed=seed))], [])
        assert_level(catalog, indexes)
    stores = [held.store for held in indexes._held.values() if len(held.store)]
    assert len(stores) == 2
    assert all(isinstance(store, DeviceStore) and store._fresh is not None for store in stores)
    indexes.save()
    indexes.close()
    assert all(isinstance(store, DeviceStore) and store._fresh is None for store in stores)
    assert_level(catalog, Indexes(catalog, tmp_path / "vectors", DIM))  # what was saved is the CPU's


def test_searches_run_on_a_gpu_only_where_one_is_named() -> None:
    assert store_class("auto") is store_class("cpu") is RowStore
    on_gpu = store_class("cuda:1,cuda:0")
    assert issubclass(on_gpu, DeviceStore)
    assert on_gpu.device == "cuda:1"


def test_blocks_are_split_and_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_exact, "_BLOCK_QUERIES", 2)
    scan, oracle = TorchScan(DIM, "cpu", block_rows=4), ExactStore(DIM)
    for start, n in ((0, 3), (3, 1), (4, 9), (13, 2)):
        for each in (scan, oracle):
            each.add(np.arange(start, start + n), unit(n, seed=start))
    assert [len(ids) for ids, _ in scan._blocks] == [4, 4, 4, 3]
    found = scan.nearest(unit(5, seed=1), 6, None)
    np.testing.assert_array_equal(found.ids, oracle.search(unit(5, seed=1), 6).ids)
    scan.remove(np.array([4, 5, 6, 7, 14]))
    assert [len(ids) for ids, _ in scan._blocks] == [4, 4, 2]


def test_a_block_of_which_nothing_is_allowed_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    monkeypatch.setattr(
        torch_exact,
        "products",
        lambda queries, vectors: (scored.append(len(vectors)), products(queries, vectors))[1],  # type: ignore[func-returns-value]
    )
    scan = TorchScan(DIM, "cpu", block_rows=4)
    scan.add(np.arange(12), unit(12))
    found = scan.nearest(unit(1), 3, np.array([5, 6]))
    assert scored == [2]
    assert sorted(found.ids[0].tolist()) == [-1, 5, 6]


def test_a_torch_without_products_of_two_types_widens_the_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.from_numpy(unit(4)).half()
    monkeypatch.setattr(torch_exact, "_MULTIPLIES_INTO_FLOAT32", False)
    on_gpu = SimpleNamespace(device=SimpleNamespace(type="cuda"), float=vectors.float)
    queries = torch.from_numpy(unit(2, seed=1))
    torch.testing.assert_close(products(queries, on_gpu), queries @ vectors.float().T)  # type: ignore[arg-type]


def test_products_of_a_gpu_lose_no_digit_of_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    def mm(left: Any, right: Any, out_dtype: Any) -> Any:
        assert (left.dtype, right.dtype, out_dtype) == (torch.float16, torch.float16, torch.float32)
        return left.float() @ right.float()

    monkeypatch.setattr(torch, "mm", mm)
    queries = np.random.default_rng(0).standard_normal((3, 512)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    vectors = torch.from_numpy(unit(40, dim=512)).half()
    on_gpu = SimpleNamespace(device=SimpleNamespace(type="cuda"), T=vectors.T)
    found = products(torch.from_numpy(queries), on_gpu)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, queries @ unit(40, dim=512).T, atol=1e-6)
    assert ROUNDING > 1e-6


@pytest.mark.parametrize(("dim", "size"), [(512, 64), (768, 96), (640, 64), (384, 48), (240, 24), (256, 32), (7, 1)])
def test_codes_are_an_eighth_of_the_dimensions_at_most(dim: int, size: int) -> None:
    assert faiss_gpu.code_bytes(dim) == size
    assert dim % size == 0


@pytest.mark.parametrize(("rows", "lists"), [(1, 4), (1_000_000, 4096), (10_000_000, 16384)])
def test_lists_grow_with_the_root_of_the_rows(rows: int, lists: int) -> None:
    assert faiss_gpu.ivf_lists(rows) == lists


def test_a_faiss_without_gpu_support_holds_nothing() -> None:
    import faiss

    assert faiss_gpu.forms(faiss) == ()
    assert faiss_gpu.forms(fake_faiss) == ALL
    assert faiss_gpu.forms(SimpleNamespace(StandardGpuResources=1, GpuIndexFlatIP=1)) == ("flat", "ivfpq")
    fault = faiss_gpu.try_kernel(faiss, 0)
    assert fault == "this FAISS has no GPU support; pip install --force-reinstall --no-deps faiss-gpu-cuvs"


def test_a_right_kernel_passes_and_a_wrong_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faiss_gpu.try_kernel(fake_faiss, 0) is None
    search = fake_faiss.GpuIndexFlatIP.search
    monkeypatch.setattr(fake_faiss.GpuIndexFlatIP, "search", lambda index, queries, k: search(index, -queries, k))
    assert faiss_gpu.try_kernel(fake_faiss, 0) == "it found other neighbours than NumPy"


@pytest.fixture
def no_memory_of_faults() -> Any:
    faiss_gpu.fault.cache_clear()
    yield
    faiss_gpu.fault.cache_clear()


@pytest.mark.usefixtures("no_memory_of_faults")
def test_the_kernel_is_tried_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    done = SimpleNamespace(returncode=0, stdout="", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: (asked.append(command), done)[1])  # type: ignore[func-returns-value]
    assert [faiss_gpu.fault(1), faiss_gpu.fault(1)] == [None, None]
    assert asked == [[sys.executable, "-m", "mmsearch.index.faiss_gpu", "1"]]


@pytest.mark.usefixtures("no_memory_of_faults")
@pytest.mark.parametrize(
    ("code", "out", "err", "fault"),
    [
        (1, "it found other neighbours than NumPy\n", "", "it found other neighbours than NumPy"),
        (
            -signal.SIGABRT,
            "",
            "Faiss assertion\nno kernel image is available",
            "its kernel test died of signal 6: no kernel image is available",
        ),
        (-signal.SIGSEGV, "", "", "its kernel test died of signal 11: it said nothing"),
    ],
)
def test_a_kernel_that_fails_or_ends_its_process_is_named(
    code: int, out: str, err: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = SimpleNamespace(returncode=code, stdout=out, stderr=err)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: done)
    assert faiss_gpu.fault(0) == fault


@pytest.mark.usefixtures("no_memory_of_faults")
def test_a_kernel_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: Any, timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    assert faiss_gpu.fault(0, 3) == "its kernel test did not end within 3 s"


@pytest.mark.usefixtures("no_memory_of_faults")
def test_the_installed_faiss_is_told_to_have_no_gpu() -> None:
    assert str(faiss_gpu.fault(0)).startswith("this FAISS has no GPU support; pip install")
