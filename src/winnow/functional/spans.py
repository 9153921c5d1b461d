"""Spans of tokens: the best answers by start and end scores."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


def best_spans(
    start: NDArray[np.floating],
    end: NDArray[np.floating],
    allowed: NDArray[np.bool_],
    *,
    max_length: int,
    n_best: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating]]:
    """The spans with the largest sums of start and end score, by an exact search over all spans up to a length.

    Args:
        start: scores of each token as the first of an answer, ``(batch, seq)``.
        end: scores of each token as the last of an answer, ``(batch, seq)``.
        allowed: bool, ``(batch, seq)``, True = may begin or end an answer.
        max_length: tokens in the longest span, 1 or more.
        n_best: number of spans for each row.

    Returns:
        First token, last token and score, each ``(batch, k)`` with k <= n_best, the best first, of equal ones the first
        in the text; the score is -inf where a row has fewer spans.
    """
    start, end = (np.where(allowed, scores, -np.inf) for scores in (start, end))
    batch, tokens = end.shape
    max_length = min(max_length, tokens)
    ends = np.pad(end, ((0, 0), (0, max_length - 1)), constant_values=-np.inf)
    sums = start[:, :, None] + sliding_window_view(ends, max_length, axis=1)  # (batch, seq, max_length)
    scores = sums.reshape(batch, -1)
    kept = min(n_best, scores.shape[1])
    best = np.sort(np.argpartition(-scores, kept - 1, axis=1)[:, :kept], axis=1)
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    first = best // max_length
    last = np.minimum(first + best % max_length, tokens - 1)
    return first, last, np.take_along_axis(scores, best, axis=1)
