from __future__ import annotations

import numpy as np
import pytest
from tests.index.samples import unit

from mmsearch.index import scan


def test_every_finite_float16_is_widened_to_the_same_value() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    np.testing.assert_array_equal(scan.widen(halves), halves.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(scan.widen(halves)), np.signbit(halves))


@pytest.mark.parametrize("block_values", [1, 100, 1 << 18])
@pytest.mark.parametrize("n", [0, 1, 57])
def test_products_are_those_of_float32(n: int, block_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_BLOCK_VALUES", block_values)
    rows, queries = unit(n), unit(3, seed=1)
    found = scan.products(queries, rows.astype(np.float16))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, queries @ rows.T, atol=1e-6)
