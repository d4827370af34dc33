"""What the towers are trained to lower. Every loss is a mean over the batch; rows given as embeddings are unit rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(
    left: Tensor, right: Tensor, scale: Tensor, same: Tensor | None = None, extra: Tensor | None = None
) -> Tensor:
    """Symmetric contrastive loss over a batch of pairs (van den Oord et al. 2018; Radford et al. 2021).

    left, right: (N, D) unit rows, row i of one belonging to row i of the other.
    scale:       scalar, one over the temperature.
    same:        (N, N) bool of further pairs that belong together (two captions of one photo); they are not negatives.
    extra:       (M, D) further rows that no left row belongs to.
    """
    logits = scale * left @ right.T  # (N, N)
    if same is not None:
        twin = same & ~torch.eye(len(left), dtype=torch.bool, device=left.device)
        logits = logits.masked_fill(twin, -1e4)
    target = torch.arange(len(left), device=left.device)
    wide = logits if extra is None else torch.cat([logits, scale * left @ extra.T], dim=1)  # (N, N + M)
    return (functional.cross_entropy(wide, target) + functional.cross_entropy(logits.T, target)) / 2


def embedding_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of each student row with its teacher row."""
    return (1 - functional.cosine_similarity(student, teacher, dim=-1)).mean()


def feature_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error per feature, summed over features and divided by the teacher's mean squared length.

    0 is a perfect copy, 1 is no better than answering zero.
    """
    return (student - teacher).square().sum(-1).mean() / teacher.square().sum(-1).mean().clamp_min(1e-12)


def text_distillation(student: Tensor, teacher: Tensor, scale: float = 20.0) -> Tensor:
    """The student's in-batch similarities match the teacher's: KL(teacher || student) (Tian et al. 2020).

    student, teacher: (N, D) and (N, E) unit rows; their dimensions may differ.
    """
    off = torch.eye(len(student), dtype=torch.bool, device=student.device)
    ours = (scale * student @ student.T).masked_fill(off, -1e4)
    theirs = (scale * teacher @ teacher.T).masked_fill(off, -1e4)
    return functional.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), log_target=True, reduction="batchmean")


def hard_negatives(left: Tensor, right: Tensor, margin: float, same: Tensor | None = None) -> Tensor:
    """Hinge on the nearest wrong row of the batch, both ways (VSE++, Faghri et al. 2018)."""
    cosine = left @ right.T  # (N, N)
    own = cosine.diagonal()
    wrong = torch.eye(len(left), dtype=torch.bool, device=left.device)
    wrong = wrong if same is None else wrong | same
    others = cosine.masked_fill(wrong, -1.0)
    forth = (margin + others.amax(1) - own).clamp_min(0)
    back = (margin + others.amax(0) - own).clamp_min(0)
    return (forth + back).mean() / 2
