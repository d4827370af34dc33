"""The losses, against values worked out by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from mmsearch.retrieval.training import losses  # noqa: E402

EYE = torch.eye(2)


def test_info_nce_of_orthogonal_pairs_is_the_log_of_one_plus_exp_minus_scale() -> None:
    loss = losses.info_nce(EYE, EYE, torch.tensor(3.0))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-3.0)))


def test_info_nce_of_equal_rows_is_the_log_of_the_batch() -> None:
    rows = torch.ones(4, 1)
    assert losses.info_nce(rows, rows, torch.tensor(9.0)).item() == pytest.approx(math.log(4))


def test_info_nce_does_not_push_twins_apart() -> None:
    rows = torch.ones(2, 1)
    same = torch.ones(2, 2, dtype=torch.bool)
    assert losses.info_nce(rows, rows, torch.tensor(9.0), same).item() == pytest.approx(0.0)


def test_embedding_distillation_is_one_for_orthogonal_rows_and_zero_for_scaled_copies() -> None:
    assert losses.embedding_distillation(EYE, EYE.flip(0)).item() == pytest.approx(1.0)
    assert losses.embedding_distillation(EYE, 5 * EYE).item() == pytest.approx(0.0)


def test_feature_distillation_is_one_for_the_answer_zero() -> None:
    teacher = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert losses.feature_distillation(torch.zeros(2, 2), teacher).item() == pytest.approx(1.0)
    assert losses.feature_distillation(teacher, teacher).item() == 0.0
    # (1 + 0) / 2 over (25 + 1) / 2
    assert losses.feature_distillation(torch.tensor([[3.0, 3.0], [0.0, 1.0]]), teacher).item() == pytest.approx(1 / 26)


def test_text_distillation_is_zero_where_similarities_agree_though_dimensions_differ() -> None:
    student = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), dim=-1)
    teacher = torch.cat([student, torch.zeros(3, 5)], dim=1)
    assert losses.text_distillation(student, teacher).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.text_distillation(student.flip(0)[[0, 0, 1]], teacher).item() > 0.1


def test_hard_negatives_count_only_what_comes_within_the_margin() -> None:
    assert losses.hard_negatives(EYE, EYE, margin=0.2).item() == 0.0
    # every other row is as near as the own one: the hinge is the margin itself
    rows = torch.ones(3, 1)
    assert losses.hard_negatives(rows, rows, margin=0.2).item() == pytest.approx(0.2)
