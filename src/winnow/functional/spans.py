"""Spans of tokens: the best answers by start and end scores."""

import torch
import torch.nn.functional as F
from torch import Tensor


def best_spans(
    start: Tensor, end: Tensor, allowed: Tensor, *, max_length: int, n_best: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The spans with the largest sums of start and end score, by an exact search over all spans up to a length.

    Args:
        start: scores of each token as the first of an answer, ``(batch, seq)``.
        end: scores of each token as the last of an answer, ``(batch, seq)``.
        allowed: bool, ``(batch, seq)``, True = may begin or end an answer.
        max_length: tokens in the longest span, 1 or more.
        n_best: number of spans for each row.

    Returns:
        First token, last token and score, each ``(batch, k)`` with k <= n_best, the best first; the score is -inf
        where a row has fewer spans.
    """
    start = start.masked_fill(~allowed, -torch.inf)
    end = end.masked_fill(~allowed, -torch.inf)
    max_length = min(max_length, end.shape[1])
    ends = F.pad(end, (0, max_length - 1), value=-torch.inf).unfold(1, max_length, 1)  # (batch, seq, max_length)
    scores = (start.unsqueeze(-1) + ends).flatten(1)
    best = scores.topk(min(n_best, scores.shape[1]), dim=1)
    first = best.indices // max_length
    last = (first + best.indices % max_length).clamp(max=end.shape[1] - 1)
    return first, last, best.values
