"""Measures of rankings: recall_at, precision_at, mrr, ndcg_at, intervals, comparisons, auroc, ece."""

from mmsearch.retrieval.metrics import (
    Comparison,
    Interval,
    auroc,
    compare,
    ece,
    found,
    interval,
    mrr,
    ndcg_at,
    precision_at,
    recall_at,
)

__all__ = [
    "Comparison",
    "Interval",
    "auroc",
    "compare",
    "ece",
    "found",
    "interval",
    "mrr",
    "ndcg_at",
    "precision_at",
    "recall_at",
]
