"""Hubness is measured against a bank of captions, once for every row, and again when the bank is another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.index.samples import DIM, photo, row, row_ids, unit
from tests.models import make_tiny_model

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import ModelInvalid
from mmsearch.index.indexes import Indexes
from mmsearch.retrieval import hubs
from mmsearch.retrieval.candidates import gather
from mmsearch.retrieval.encoders import registry, samples
from mmsearch.retrieval.library import Library


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog.open(tmp_path / "catalog.sqlite")
    root = opened.add_root(Path("/photos"))
    opened.record([photo(root.id, f"{i}.jpg", row(seed=i)) for i in range(4)])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def measured(catalog: Catalog) -> list[float]:
    return [float(value) for value in catalog.facts(np.array(row_ids(catalog))).hubness]


def test_hubness_is_the_mean_of_the_greatest_cosines() -> None:
    rows, bank = unit(3, 1), unit(50, 2)
    expected = [np.mean(sorted(bank @ each)[-16:]) for each in rows]
    np.testing.assert_allclose(hubs.hubness(rows, bank), expected, rtol=1e-6)


def test_a_bank_smaller_than_the_neighbours_counts_whole() -> None:
    rows, bank = unit(3, 1), unit(5, 2)
    np.testing.assert_allclose(hubs.hubness(rows, bank), (rows @ bank.T).mean(axis=1), rtol=1e-6)


def test_no_rows_have_no_hubness() -> None:
    assert hubs.hubness(np.empty((0, DIM), np.float16), unit(5)).shape == (0,)


def test_every_row_is_measured_once(catalog: Catalog) -> None:
    assert np.isnan(measured(catalog)).all()
    bank = unit(40, 9).astype(np.float16)
    hubs.level(catalog, bank)
    stored = np.concatenate([unit(1, seed) for seed in range(4)])
    np.testing.assert_allclose(measured(catalog), hubs.hubness(stored, bank), rtol=1e-6)
    catalog.note_hubness(np.array([2]), np.array([7.0], np.float32))
    hubs.level(catalog, bank)
    assert measured(catalog)[1] == 7.0


def test_another_bank_measures_all_rows_again(catalog: Catalog) -> None:
    for seed in (1, 2):
        bank = unit(40, seed).astype(np.float16)
        hubs.level(catalog, bank)
        stored = np.concatenate([unit(1, seed) for seed in range(4)])
        np.testing.assert_allclose(measured(catalog), hubs.hubness(stored, bank), rtol=1e-6)


def test_rows_come_in_parts(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "_CHUNK", 3)
    hubs.level(catalog, unit(40).astype(np.float16))
    assert not np.isnan(measured(catalog)).any()


def test_candidates_carry_the_hubness_of_their_rows(catalog: Catalog, tmp_path: Path) -> None:
    catalog.note_hubness(np.array(row_ids(catalog)), np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    (found,) = gather(catalog, Indexes(catalog, tmp_path, DIM), unit(1), [""], 10)
    np.testing.assert_array_equal(found.hubness[:, 0], np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    assert np.isnan(found.hubness[:, 1:]).all()


def test_the_bundled_model_brings_a_bank_of_unit_rows(tmp_path: Path) -> None:
    bank = hubs.find(registry.BUNDLED, tmp_path)
    assert bank is not None
    assert bank.shape == (hubs.BANK_SIZE, registry.card(registry.BUNDLED).dim)
    np.testing.assert_allclose(np.linalg.norm(bank.astype(np.float32), axis=1), 1, atol=2e-3)


def test_a_model_without_a_bank_gets_one_of_our_own_captions(model: Path, tmp_path: Path) -> None:
    assert hubs.find(str(model), tmp_path) is None
    with closing(registry.load(str(model))) as encoder:
        made = hubs.provide(str(model), tmp_path, lambda: encoder)
        np.testing.assert_array_equal(made, encoder.texts(samples.CAPTIONS).astype(np.float16))
    found = hubs.find(str(model), tmp_path)
    assert found is not None
    np.testing.assert_array_equal(found, made)
    assert not (model / "bank.npy").exists()


def test_a_bank_is_kept_for_one_model_at_a_time(model: Path, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", seed=1)
    for path in (model, other):
        with closing(registry.load(str(path))) as encoder:
            hubs.provide(str(path), tmp_path / "kept", lambda: encoder)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    assert hubs.find(str(model), tmp_path / "kept") is None


@pytest.mark.parametrize(
    ("bank", "reason"),
    [
        (np.ones((3, 5), np.float16), "bank.npy has rows of (3, 5), not (B, 32)"),
        (np.ones((0, 32), np.float16), "bank.npy has rows of (0, 32), not (B, 32)"),
        (np.ones(32, np.float16), "bank.npy has rows of (32,), not (B, 32)"),
    ],
)
def test_a_bank_of_another_shape_is_refused(
    model: Path, tmp_path: Path, bank: np.ndarray[tuple[int, ...], np.dtype[np.float16]], reason: str
) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    np.save(copy / "bank.npy", bank)
    with pytest.raises(ModelInvalid) as caught:
        hubs.find(str(copy), tmp_path)
    assert str(caught.value) == f"the model {copy} cannot be used: {reason}"


def test_a_damaged_bank_is_named(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    (copy / "bank.npy").write_bytes(b"no array")
    with pytest.raises(ModelInvalid, match=r"bank\.npy cannot be read"):
        hubs.find(str(copy), tmp_path)


def test_indexing_measures_what_it_stores(model: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text("a red house")
    with Library.open(tmp_path / "library", model=str(model)) as library:
        library.index([notes])
        (hubness,) = library._catalog.facts(np.array(row_ids(library._catalog, "text"))).hubness
        assert 0 < hubness < 1
        (notes / "a.txt").write_text("a blue house")
        library.index()
        assert not np.isnan(library._catalog.facts(np.array(row_ids(library._catalog, "text"))).hubness).any()
