"""How a torch module is run: batches that fit, the quickest way, one call at a time. All of it on the CPU."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from mmsearch.index.errors import DeviceUnavailable, UsageError  # noqa: E402
from mmsearch.retrieval.encoders import fitted, torch_towers  # noqa: E402
from mmsearch.retrieval.encoders.spread_encoder import SpreadEncoder  # noqa: E402
from mmsearch.retrieval.encoders.torch_towers import Halving, Tower, chosen, quickest  # noqa: E402


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what fitted is remembered."""
    file = tmp_path / "cache" / "batches.json"
    monkeypatch.setattr(fitted, "path", lambda: file)
    return file


class Cramped:
    """A tower on a device that holds a few rows at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        self.tried.append(len(batch))
        if len(batch) > self.room:
            raise torch.OutOfMemoryError
        return batch.astype(np.float32)


def test_the_batch_is_halved_until_it_fits_and_stays_so() -> None:
    tower = Cramped(room=3)
    halving = Halving(tower, 16, "cuda:0")
    batch = np.arange(20).reshape(10, 2)
    np.testing.assert_array_equal(halving(batch), batch)
    assert tower.tried == [10, 5, 2, 2, 2, 2, 2]
    halving(batch)
    assert tower.tried[7:] == [2] * 5


@pytest.mark.parametrize(
    "said", ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"]
)
def test_memory_that_a_library_lacks_is_memory_too(said: str) -> None:
    def tower(batch: NDArray[Any]) -> NDArray[np.float32]:
        if len(batch) > 2:
            raise RuntimeError(said)
        return batch.astype(np.float32)

    halving = Halving(tower, 16, "cuda:0")
    assert halving(np.zeros((5, 2))).shape == (5, 2)
    assert halving.size == 2


def test_what_did_not_fit_is_let_go_before_less_is_tried() -> None:
    import weakref

    held: list[Any] = []

    def tower(batch: NDArray[Any]) -> NDArray[np.float32]:
        assert all(each() is None for each in held)
        activations = Doubled()
        held.append(weakref.ref(activations))
        if len(batch) > 1:
            raise torch.OutOfMemoryError
        return batch.astype(np.float32)

    Halving(tower, 8, "cuda:0")(np.zeros((4, 2)))
    assert len(held) == 6


def test_another_error_is_the_caller_s() -> None:
    def tower(batch: NDArray[Any]) -> NDArray[np.float32]:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Halving(tower, 8, "cuda:0")(np.zeros((4, 2)))


def test_a_lost_card_is_said_to_be_one() -> None:
    class Lost(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, x: Any) -> Any:
            raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later.")

    with pytest.raises(DeviceUnavailable) as lost:
        Tower(Lost(), "cpu")(np.zeros((1, 1)))
    assert str(lost.value) == (
        "the device cpu cannot be used: CUDA error: unspecified launch failure; what was done is kept. "
        "`mmsearch doctor` says what is there."
    )


def test_one_row_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(DeviceUnavailable, match="its memory does not hold the model and one input"):
        Halving(Cramped(room=0), 4, "cuda:0")(np.zeros((4, 2)))


NAME = ("cuda:0", "fingerprint", "image")


def test_what_fitted_is_known_to_the_next_process() -> None:
    Halving(Cramped(room=3), 16, "cuda:0", NAME, 1000)(np.zeros((10, 2)))
    assert Halving(Cramped(room=3), 16, "cuda:0", NAME, 1000).size == 2
    assert Halving(Cramped(room=3), 1, "cuda:0", NAME, 1000).size == 1
    assert Halving(Cramped(room=3), 16, "cuda:0", ("cuda:1", *NAME[1:]), 1000).size == 16


def test_a_device_with_more_memory_free_is_tried_anew() -> None:
    fitted.note(NAME, 2, 1000)
    fitted.note(("other",), 3, 5)
    assert [Halving(Cramped(3), 16, "cuda:0", NAME, free).size for free in (500, 1100, 1101)] == [2, 2, 16]


def test_what_cannot_be_kept_or_read_is_forgotten(kept: Path) -> None:
    kept.parent.write_text("no folder")
    fitted.note(NAME, 2, 1000)
    kept.parent.unlink()
    kept.parent.mkdir()
    for damaged in ("{", "3", ""):
        kept.write_text(damaged)
        assert fitted.recalled(NAME, 1000) is None
    fitted.note(NAME, 2, 1000)
    assert fitted.recalled(NAME, 1000) == 2


class Doubled(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    def forward(self, x: Any) -> Any:
        return 2 * x.float()


def test_a_tower_takes_arrays_and_tensors() -> None:
    tower = Tower(Doubled(), "cpu")
    batch = np.arange(6, dtype=np.uint8).reshape(3, 2)
    for given in (batch, batch[::-1][::-1], torch.from_numpy(batch)):
        rows = tower(given)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, 2 * batch)


def test_a_tower_runs_one_call_at_a_time() -> None:
    inside, most = 0, 0
    entered = threading.Event()

    class Watched(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, x: Any) -> Any:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            entered.wait(0.02)
            inside -= 1
            return x.float()

    tower = Tower(Watched(), "cpu")
    threads = [threading.Thread(target=tower, args=(np.ones((1, 1)),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_the_way_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMSEARCH_TOWERS", raising=False)
    assert torch_towers.way() == "auto"
    monkeypatch.setenv("MMSEARCH_TOWERS", "graph")
    assert torch_towers.way() == "graph"
    monkeypatch.setenv("MMSEARCH_TOWERS", "fast")
    with pytest.raises(UsageError) as refused:
        torch_towers.way()
    assert str(refused.value) == "MMSEARCH_TOWERS is 'fast'; there are auto, eager, graph and compile"


@pytest.mark.parametrize(("graph_s", "taken"), [(0.5, "graph"), (0.96, "graph"), (0.98, "eager"), (2.0, "eager")])
def test_another_way_is_taken_only_where_it_is_surely_quicker(
    graph_s: float, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = {"eager": Doubled(), "graph": Doubled()}
    seconds = {ways["eager"]: 1.0, ways["graph"]: graph_s}
    monkeypatch.setattr(torch_towers, "timed", lambda run, inputs: seconds[run])
    assert quickest(ways, torch.ones(2, 2)) is ways[taken]


def test_a_quicker_way_with_other_rows_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"eager": Doubled(), "graph": lambda x: 3 * x}
    monkeypatch.setattr(torch_towers, "timed", lambda run, inputs: 1.0 if run is ways["eager"] else 0.1)
    assert quickest(ways, torch.ones(2, 2)) is ways["eager"]  # type: ignore[arg-type]


def test_a_module_that_cannot_be_captured_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: Any, inputs: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch_towers, "Graphed", refuse)
    module = Doubled()
    for wanted in ("auto", "graph", "eager"):
        assert chosen(wanted, module, torch.ones(2, 2)) is module


def test_towers_that_cannot_be_compiled_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def uncompiled(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(torch, "compile", lambda module: uncompiled)
    module = Doubled()
    with pytest.warns(
        UserWarning, match="the towers cannot be compiled, and run as they are: Failed to find C compiler$"
    ):
        assert chosen("compile", module, torch.ones(2, 2)) is module
    monkeypatch.setattr(torch, "compile", lambda module: module)
    assert chosen("compile", module, torch.ones(2, 2)) is module


class FakeCuda:
    """torch.cuda as far as a graph needs it: what is recorded is run again on replay."""

    def __init__(self) -> None:
        self.recording: list[Any] = []
        self.streams: list[Any] = []
        self.captures: list[tuple[Any, str]] = []

    def Stream(self) -> Any:  # noqa: N802 - as torch calls it
        self.streams.append(SimpleNamespace(wait_stream=lambda other: None))
        return self.streams[-1]

    def current_stream(self) -> Any:
        return SimpleNamespace(wait_stream=lambda other: None)

    def stream(self, stream: Any) -> Any:
        return nullcontext()

    def CUDAGraph(self) -> Any:  # noqa: N802
        return SimpleNamespace(replay=lambda: [again() for again in self.recording])

    def graph(self, graph: Any, stream: Any, capture_error_mode: str) -> Any:
        self.captures.append((stream, capture_error_mode))
        return nullcontext()


def test_a_graph_is_captured_on_a_stream_of_its_own_device_and_disturbs_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda()
    monkeypatch.setattr(torch_towers, "_cuda", cuda)

    class Recorded(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def forward(self, x: Any) -> Any:
            rows = 2 * x
            cuda.recording.append(lambda: rows.copy_(2 * x))
            return rows

    graph = torch_towers.Graphed(Recorded(), torch.ones(2, 2))
    assert cuda.captures == [(cuda.streams[0], "thread_local")]
    torch.testing.assert_close(graph(torch.full((2, 2), 3.0)), torch.full((2, 2), 6.0))


def test_a_graph_is_let_go_when_memory_runs_out() -> None:
    tower = Tower(Doubled(), "cpu")
    tower._graphed = 2

    def full(inputs: Any) -> Any:
        raise torch.OutOfMemoryError

    tower._runs[(2, 2)] = full
    with pytest.raises(torch.OutOfMemoryError):
        tower(np.ones((2, 2)))
    assert tower._runs == {}


def test_only_full_batches_are_tried_as_a_graph_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[int, ...]] = []
    monkeypatch.setattr(torch_towers, "chosen", lambda way, module, inputs: (tried.append(inputs.shape), module)[1])  # type: ignore[func-returns-value]
    tower = Tower(Doubled(), "cpu")
    tower._graphed = 4
    for rows in (3, 4, 4, 1):
        tower(np.ones((rows, 2)))
    assert tried == [(4, 2)]


class Numbered:
    """An encoder whose rows say which device made them."""

    busy_s = 2.0

    def __init__(self, number: int) -> None:
        self.number, self.closed = number, False

    def texts(self, texts: list[str]) -> NDArray[np.float32]:
        return np.array([[self.number, float(text)] for text in texts], np.float32).reshape(-1, 2)

    def close(self) -> None:
        self.closed = True


def test_shares_are_even_and_in_order_and_few_rows_stay_on_one_device() -> None:
    made: list[Numbered] = []

    def maker(number: int) -> Any:
        return lambda: (made.append(Numbered(number)), made[-1])[1]  # type: ignore[func-returns-value]

    card: Any = None
    several = SpreadEncoder(card, [maker(0), maker(1), maker(2)])
    few = several.texts([str(i) for i in range(20)])
    assert set(few[:, 0]) == {0}
    assert [each.number for each in made] == [0]
    many = several.texts([str(i) for i in range(60)])
    np.testing.assert_array_equal(many[:, 1], np.arange(60))
    np.testing.assert_array_equal(many[:, 0], np.repeat([0, 1, 2], 20))
    assert several.busy_s == 2.0
    several.close()
    assert all(each.closed for each in made)


def test_an_error_on_one_device_is_the_caller_s() -> None:
    several = SpreadEncoder(None, [lambda: Numbered(0)])  # type: ignore[arg-type, list-item, return-value, unused-ignore]
    with pytest.raises(ValueError, match="could not convert"):
        several.texts(["no number"])
    several.close()
