"""Precision, recall and F1 from counts."""

from collections.abc import Iterable
from typing import Any


def counted_scores(correct: int, predicted: int, true: int) -> dict[str, float]:
    """Precision, recall and their harmonic mean, fractions in [0, 1]; 0 instead of a division by 0.

    Args:
        correct: those that are both predicted and true.
        predicted: all that are predicted.
        true: all that there are.
    """
    return {
        "f1": 2 * correct / max(1, predicted + true),
        "precision": correct / max(1, predicted),
        "recall": correct / max(1, true),
    }


def scores_by_label(counts: Iterable[tuple[str, int, int, int]]) -> list[dict[str, Any]]:
    """The scores of each label, with ``support``, its true number, and ``predicted``, the predicted one.

    Args:
        counts: each label with the numbers that `counted_scores` takes.
    """
    return [
        {"label": label, **counted_scores(correct, predicted, true), "support": true, "predicted": predicted}
        for label, correct, predicted, true in counts
    ]
