"""Muon against torch's own (which takes matrices only), and who is moved by what."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from mmsearch.retrieval.training.optimizing import Muon, optimizers, orthogonalised  # noqa: E402


def kernels(count: int) -> list[Any]:
    """Kernels of 1 x 1, taller and wider than square, and their gradients of so many steps."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(12, 5), (5, 12), (8, 8)]
    return [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(count + 1)]


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
def test_kernels_go_where_torchs_muon_takes_the_same_matrices() -> None:
    start, *steps = kernels(4)
    ours = [torch.nn.Parameter(each.clone()[:, :, None, None]) for each in start]
    theirs = [torch.nn.Parameter(each.clone()) for each in start]
    ours_by = Muon(ours, 0.02, decay=0.1)
    theirs_by = torch.optim.Muon(theirs, 0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for gradients in steps:
        for mine, other, gradient in zip(ours, theirs, gradients, strict=True):
            mine.grad, other.grad = gradient[:, :, None, None].clone(), gradient.clone()
        ours_by.step()
        theirs_by.step()
    for mine, other, began in zip(ours, theirs, start, strict=True):
        moved = other - began
        assert (mine.flatten(1) - other).norm() < 0.03 * moved.norm()  # torch's iterates in bfloat16


@pytest.mark.parametrize("shape", [(6, 54), (54, 6), (1, 9), (7, 7)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    got = torch.diagonal(u.T @ orthogonalised(matrix) @ v.T)
    clear = s > 0.05 * s.max()
    assert ((got[clear] > 0.6) & (got[clear] < 1.25)).all()
    assert torch.allclose(u.T @ orthogonalised(matrix) @ v.T, torch.diag(got), atol=1e-8)


def test_only_kernels_that_see_no_pixels_learn_by_muon() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 2)
    )
    adamw, muon = optimizers(model, "muon", 1e-3, 0.1)
    assert [id(each) for each in muon.param_groups[0]["params"]] == [id(model[1].weight)]
    wide, thin = ({id(each) for each in group["params"]} for group in adamw.param_groups)
    assert wide == {id(model[0].weight), id(model[3].weight)}
    assert len(thin) == 5  # three biases, and the two of the normalisation
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.1, 0.0]
    assert len(optimizers(model, "adamw", 1e-3, 0.1)) == 1


def test_an_unknown_optimizer_is_named() -> None:
    with pytest.raises(ValueError, match="'sgd' is not adamw or muon"):
        optimizers(torch.nn.Linear(2, 2), "sgd", 1e-3, 0.0)
