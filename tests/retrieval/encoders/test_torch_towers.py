"""How a torch module is run: batches that fit, the quickest way, one call at a time. All of it on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from mmsearch.index.errors import DeviceUnavailable, UsageError  # noqa: E402
from mmsearch.retrieval.encoders import torch_towers  # noqa: E402
from mmsearch.retrieval.encoders.spread_encoder import SpreadEncoder  # noqa: E402
from mmsearch.retrieval.encoders.torch_towers import Halving, Tower, chosen, quickest  # noqa: E402


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    torch_towers._fitted.clear()
    yield
    torch_towers._fitted.clear()


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


def test_one_row_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(DeviceUnavailable, match="its memory does not hold the model and one input"):
        Halving(Cramped(room=0), 4, "cuda:0")(np.zeros((4, 2)))


def test_what_fitted_is_known_to_the_next_encoder_of_the_model() -> None:
    name = ("cuda:0", "fingerprint", "image")
    Halving(Cramped(room=3), 16, "cuda:0", name)(np.zeros((10, 2)))
    assert Halving(Cramped(room=3), 16, "cuda:0", name).size == 2
    assert Halving(Cramped(room=3), 16, "cuda:0", ("cuda:1", *name[1:])).size == 16


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
