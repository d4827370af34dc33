from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import HeadInvalid, UsageError
from mmsearch.retrieval.feedback.heads import Heads, Line
from mmsearch.retrieval.fusion import calibration
from mmsearch.retrieval.fusion.heads.weighted import Weighted


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog.open(tmp_path / "catalog.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def heads(catalog: Catalog, tmp_path: Path) -> Heads:
    return Heads(catalog, tmp_path / "fusion", "model 1")


def trained(bias: float) -> Weighted:
    head = Weighted.untrained()
    head.parameters["bias"] += np.float32(bias)
    return head


def bias(heads: Heads) -> float:
    return float(heads.current().head.parameters["bias"][0])


def test_a_new_library_answers_with_the_shipped_head(heads: Heads) -> None:
    assert (heads.names(), heads.in_use()) == (["default"], "default")
    assert heads.current().head is heads.load("default")


def test_a_head_answers_from_when_it_is_chosen(heads: Heads, catalog: Catalog, tmp_path: Path) -> None:
    other_process = Heads(catalog, tmp_path / "fusion", "model 1")
    heads.add("mine", trained(0.25))
    assert (heads.names(), heads.in_use()) == (["default", "mine"], "default")
    heads.use("mine")
    assert heads.in_use() == "mine"
    assert bias(heads) == bias(other_process) == 0.25
    heads.use("default")
    assert other_process.current().head is heads.load("default")


def test_a_head_says_how_sure_it_is_by_its_own_line(heads: Heads) -> None:
    heads.add("mine", trained(0.25), Line(2.0, -0.5))
    heads.add("plain", trained(0.25))
    shipped = calibration.shipped().of_features(calibration.shipped().mean, best=1.0)
    scores = np.array([1.0, 0.5])
    for name, expected in (("mine", 2 * shipped.log_odds(scores) - 0.5), ("plain", shipped.log_odds(scores))):
        heads.use(name)
        sure = heads.current().sure.of_features(calibration.shipped().mean, best=1.0)
        np.testing.assert_allclose(sure.log_odds(scores), expected)
        assert sure.fits == shipped.fits


def test_a_head_that_is_trained_again_forgets_its_line(heads: Heads) -> None:
    heads.add("mine", trained(0.25), Line(2.0, -0.5))
    heads.add("mine", trained(0.5))
    heads.use("mine")
    np.testing.assert_array_equal(heads.current().sure.hit, calibration.shipped().hit)


def test_a_head_is_read_once_until_it_is_trained_again(heads: Heads) -> None:
    heads.add("mine", trained(0.25))
    heads.use("mine")
    assert heads.current() is heads.current()
    heads.add("mine", trained(0.5))
    assert bias(heads) == 0.5


@pytest.mark.parametrize("name", ["default", "", "../x", "a/b", ".x"])
def test_a_trained_head_cannot_have_every_name(heads: Heads, name: str) -> None:
    with pytest.raises(UsageError, match=rf"^a head cannot be called {re.escape(repr(name))}; use letters, digits,"):
        heads.check_name(name)
    assert heads.check_name("mine-2.b_c") == "mine-2.b_c"


def test_a_head_that_is_not_there_cannot_be_chosen(heads: Heads) -> None:
    heads.add("mine", trained(1))
    with pytest.raises(UsageError, match=r"^there is no fusion head 'yours'; there are default, mine\.$"):
        heads.use("yours")
    assert heads.in_use() == "default"


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half a file"])
def test_a_damaged_head_leaves_the_answers_to_the_shipped_one(heads: Heads, tmp_path: Path, damage: bytes) -> None:
    heads.add("mine", trained(1))
    heads.use("mine")
    file = tmp_path / "fusion" / "mine.npz"
    file.write_bytes(damage)
    expected = (
        rf"^the fusion head {re.escape(str(file))} cannot be used: it cannot be read \(.*\)\. The shipped one answers;"
    )
    with pytest.warns(RuntimeWarning, match=expected):
        assert heads.current().head is heads.load("default")
    assert heads.current().head is heads.load("default")  # which is said once
    with pytest.raises(HeadInvalid):
        heads.use("mine")


def test_a_head_that_was_deleted_leaves_the_answers_to_the_shipped_one(heads: Heads, tmp_path: Path) -> None:
    heads.add("mine", trained(1))
    heads.use("mine")
    (tmp_path / "fusion" / "mine.npz").unlink()
    expected = (
        r"^there is no fusion head 'mine'; there are default\. The shipped one answers; "
        r"`mmsearch fusion use default` keeps it so\.$"
    )
    with pytest.warns(RuntimeWarning, match=expected):
        assert heads.current().head is heads.load("default")


def test_a_head_of_another_model_leaves_the_answers_to_the_shipped_one(
    heads: Heads, catalog: Catalog, tmp_path: Path
) -> None:
    heads.add("mine", trained(1))
    heads.use("mine")
    rebuilt = Heads(catalog, tmp_path / "fusion", "model 2")
    with pytest.warns(RuntimeWarning, match=r"mine\.npz cannot be used: it was trained with another model than the"):
        assert rebuilt.current().head is rebuilt.load("default")
    assert bias(heads) == 1  # with its own model it answers again


def test_a_head_that_cannot_be_used_is_passed_over_with_a_warning(heads: Heads, tmp_path: Path) -> None:
    heads.add("a", trained(1))
    heads.add("b", trained(2))
    (tmp_path / "fusion" / "a.npz").write_bytes(b"")
    with pytest.warns(RuntimeWarning, match=r"a\.npz cannot be used"):
        assert [name for name, _ in heads.usable()] == ["default", "b"]


def test_a_reset_deletes_every_trained_head(heads: Heads, tmp_path: Path) -> None:
    heads.add("a", trained(1))
    heads.add("b", trained(2))
    heads.use("b")
    assert heads.reset() == 2
    assert (heads.names(), heads.in_use(), list((tmp_path / "fusion").iterdir())) == (["default"], "default", [])
    assert heads.reset() == 0
