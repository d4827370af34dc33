"""What the heads are trained to lower: each takes scores and relevance of a batch of lists, (B, C), and gives (B,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mmsearch.retrieval.fusion.options import Loss

_PAST = -1e4  # the score of padding


def listwise(scores: Tensor, relevant: Tensor, valid: Tensor) -> Tensor:
    """Cross entropy of the softmax over the list to an even share for each right item (ListNet, Cao et al. 2007)."""
    log_chance = functional.log_softmax(scores.masked_fill(~valid, _PAST), dim=-1)
    return -(log_chance * relevant).sum(-1) / relevant.sum(-1).clamp_min(1)


def pairwise(scores: Tensor, relevant: Tensor, valid: Tensor) -> Tensor:
    """Mean logistic loss over the pairs of a right and a wrong item (RankNet, Burges et al. 2005)."""
    pairs = _pairs(relevant, valid)
    losses = functional.softplus(scores[:, None, :] - scores[:, :, None]) * pairs
    return losses.sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)


def lambdarank(scores: Tensor, relevant: Tensor, valid: Tensor) -> Tensor:
    """The logistic loss of each pair times the nDCG that swapping the two would change (Burges et al. 2006)."""
    order = scores.detach().masked_fill(~valid, _PAST).argsort(dim=-1, descending=True)
    rank = order.argsort(dim=-1)
    discount = 1 / torch.log2(rank + 2.0)  # (B, C)
    ideal = (1 / torch.log2(torch.arange(scores.shape[1]) + 2.0)).cumsum(0)[relevant.sum(-1).clamp_min(1) - 1]
    change = (discount[:, :, None] - discount[:, None, :]).abs() / ideal[:, None, None]
    losses = functional.softplus(scores[:, None, :] - scores[:, :, None]) * change * _pairs(relevant, valid)
    return losses.sum((1, 2))


def _pairs(relevant: Tensor, valid: Tensor) -> Tensor:
    """(B, C, C) bool, where the row is right and the column wrong."""
    return relevant[:, :, None] & (valid & ~relevant)[:, None, :]


LOSSES: dict[Loss, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "listwise": listwise,
    "pairwise": pairwise,
    "lambdarank": lambdarank,
}
