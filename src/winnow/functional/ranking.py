"""Exact selection of the largest of very many scores, in a few passes over them."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Values worked on at a time on a CPU: they and their masks stay in the cache of a core.
CACHED = 1 << 17
# Up to this many values ranking them all is faster than sampling a bracket first.
_SMALL = 1 << 14
_SAMPLE = (1 << 13, 1 << 16)  # smallest and largest size of a sample, one value in 64 between them


def keep_largest(scores: Sequence[Tensor], zeros: int, *, signed: bool = False) -> list[Tensor]:
    """Prune the ``zeros`` smallest magnitudes; of equal ones at the threshold the first in index order are kept.

    A score of 0 is never kept, so pruned weights stay pruned. On a CPU one comparison decides nearly all scores: a
    sorted sample gives two magnitudes between which the threshold lies almost surely, and only the few scores between
    them are ranked (Floyd & Rivest 1975, doi:10.1145/360680.360691). If the counts show that the threshold lies
    outside, all scores are ranked.

    Args:
        scores: no NaN, any shapes; they are ranked together.
        zeros: how many to prune, 0 to the number of scores.
        signed: prune the smallest scores rather than magnitudes; -inf is never kept.

    Returns:
        bool, the shapes of ``scores``.
    """
    sizes = [score.numel() for score in scores]
    masks = None
    if zeros and sum(sizes) > _SMALL and on_cpu(scores):
        masks = _by_bracket(scores, zeros, sum(sizes), signed)
    if masks is None:
        values = torch.cat([score.detach().flatten() for score in scores])
        masks = list(torch.split(_by_rank(values if signed else values.abs(), zeros, floor(signed)), sizes))
    return [mask.view(score.shape) for mask, score in zip(masks, scores, strict=True)]


def floor(signed: bool) -> float:
    """The score of a weight that stays pruned."""
    return -math.inf if signed else 0.0


def _by_rank(values: Tensor, zeros: int, lowest: float) -> Tensor:
    if not zeros:
        return values > lowest
    threshold = _kth_smallest(values, zeros)
    keep = values > threshold
    if threshold > lowest:
        ties = (values == threshold).nonzero().squeeze(1)
        keep[ties[: len(values) - zeros - int(keep.count_nonzero())]] = True
    return keep


def _kth_smallest(values: Tensor, k: int) -> Tensor:
    if not on_cpu([values]):
        return values.kthvalue(k).values
    return torch.from_numpy(np.partition(flat(values), k - 1))[k - 1]  # vectorised, unlike torch's on a CPU


def _by_bracket(scores: Sequence[Tensor], zeros: int, n: int, signed: bool) -> list[Tensor] | None:
    low, high = _bracket(scores, zeros, n, signed)
    parts = in_threads(lambda score: _decide(score, low, high, signed), scores)
    undecided = torch.from_numpy(np.concatenate([values for _, _, values in parts]))
    below = n - len(undecided) - sum(int(np.count_nonzero(keep)) for keep, _, _ in parts)
    if not below < zeros <= below + len(undecided):
        return None
    sizes = [len(places) for _, places, _ in parts]
    decided = torch.split(_by_rank(undecided, zeros - below, floor(signed)), sizes)
    for (keep, places, _), kept in zip(parts, decided, strict=True):
        keep[places] = kept.numpy()
    return [torch.from_numpy(keep) for keep, _, _ in parts]


def _bracket(scores: Sequence[Tensor], k: int, n: int, signed: bool) -> tuple[Any, Any]:
    """Two values between which the k-th smallest of all n lies almost surely."""
    size = min(max(n // 64, _SAMPLE[0]), _SAMPLE[1])
    step = n // size | 1  # odd, so that it does not fall on the same columns of every row
    sample = np.concatenate([flat(score)[::step] for score in scores])
    sample = np.sort(sample if signed else np.abs(sample))
    rank = (len(sample) - 1) * (k - 1) / (n - 1)
    margin = 3.0 * (len(sample) * (k / n) * (1.0 - k / n)) ** 0.5 + 2.0  # three standard errors of the rank
    return sample[max(0, int(rank - margin))], sample[min(len(sample) - 1, int(rank + margin) + 1)]


def _decide(score: Tensor, low: Any, high: Any, signed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A mask of the values above ``high``; the indices of the values from ``low`` to ``high``, and these values.

    numpy compares several times faster than torch, and block by block in the cache of a core.
    """
    scores = flat(score)
    keep, places, undecided = np.empty(len(scores), bool), [], []
    buffer = np.empty(min(CACHED, len(scores)), scores.dtype)
    for start in range(0, len(scores), CACHED):
        block = scores[start : start + CACHED]
        if not signed:
            block = np.abs(block, out=buffer[: len(block)])
        above = np.greater(block, high, out=keep[start : start + len(block)])
        between = _places((block >= low) ^ above)
        places.append(between + start)
        undecided.append(block[between])
    return keep, np.concatenate(places), np.concatenate(undecided)


def _places(marks: np.ndarray) -> np.ndarray:
    """``np.flatnonzero`` for few marks among many, in half the time: it tests eight at once."""
    if len(marks) % 8:
        return np.flatnonzero(marks)
    eights = marks.view(np.uint64)
    some = np.flatnonzero(eights != 0)
    found = np.flatnonzero(eights[some].view(bool))
    places: np.ndarray = 8 * some[found >> 3] + (found & 7)
    return places


def flat(tensor: Tensor) -> np.ndarray:
    """The values as a flat numpy array; half precision as float32, since numpy has no bf16 and a slow fp16."""
    values = tensor.detach().reshape(-1)
    array: np.ndarray = (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    return array


def on_cpu(tensors: Sequence[Tensor]) -> bool:
    return all(tensor.device.type == "cpu" for tensor in tensors)


def in_threads(work: Callable[..., Any], tensors: Sequence[Tensor], *others: Sequence[Any]) -> list[Any]:
    """Results of ``work`` on each tensor and the others at its index, in order, computed in threads.

    numpy releases Python's lock while it computes, so the threads share the cores.
    """
    threads = min(torch.get_num_threads(), len(tensors))
    if threads == 1 or not on_cpu(tensors):
        return list(map(work, tensors, *others))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, tensors, *others))
