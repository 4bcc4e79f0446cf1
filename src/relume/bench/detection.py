r"""How well a map of scores finds what is there."""

__all__ = ["auc", "best_f1", "iou"]

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relume.errors import UsageError

Scores = NDArray[np.floating]
Truth = NDArray[np.bool_]


class BestF1(NamedTuple):
    """The largest F1 that any threshold reaches, and the threshold (scores from it on count as found)."""

    f1: float
    threshold: float


def auc(scores: Scores, truth: Truth) -> float | None:
    r"""Area under the ROC curve: the chance that a true pixel scores above a false one, ties counting half.

    .. math:: \frac{\sum_{i \in +} r_i - n_+ (n_+ + 1) / 2}{n_+ \, n_-}

    with :math:`r` the ranks, equal scores sharing their mean rank: exact, without thresholds. ``None`` where
    only one class is present.

    Raises
    ------
    UsageError
        If the shapes differ.

    Source: Hanley, McNeil, *The Meaning and Use of the Area under a ROC Curve*, 1982.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    scores, truth = _flat(scores, truth)
    positive = int(truth.sum())
    negative = truth.size - positive
    if not positive or not negative:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse.reshape(-1)]
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def iou(scores: Scores, truth: Truth, *, threshold: float = 0.5) -> float | None:
    """Intersection over union of the truth and what scores ``threshold`` or more; ``None`` if both are empty.

    Raises
    ------
    UsageError
        If the shapes differ.
    """
    scores, truth = _flat(scores, truth)
    found = scores >= threshold
    union = int((found | truth).sum())
    return float((found & truth).sum() / union) if union else None


def best_f1(scores: Scores, truth: Truth) -> BestF1 | None:
    r"""The best :math:`F_1 = 2TP / (2TP + FP + FN)` over all thresholds; ``None`` if nothing is true.

    Raises
    ------
    UsageError
        If the shapes differ.
    """
    scores, truth = _flat(scores, truth)
    if not truth.any():
        return None
    order = np.argsort(-scores, kind="stable")
    sorted_scores, hits = scores[order], np.cumsum(truth[order])
    whole = np.append(sorted_scores[1:] != sorted_scores[:-1], True)  # equal scores pass together
    f1 = np.where(whole, 2 * hits / (np.arange(1, truth.size + 1) + truth.sum()), -1.0)
    best = int(np.argmax(f1))
    return BestF1(float(f1[best]), float(sorted_scores[best]))


def _flat(scores: Scores, truth: Truth) -> tuple[Scores, Truth]:
    if scores.shape != truth.shape:
        raise UsageError(f"scores of shape {scores.shape} and a truth of {truth.shape} cannot be compared")
    return scores.reshape(-1), truth.reshape(-1)
