"""Magnitude masks: which weights a given sparsity keeps. True = keep, False = pruned."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Values worked on at a time on a CPU: they and their masks stay in the cache of a core.
_BLOCK = 1 << 17
# Up to this many values ranking them all is faster than sampling a bracket first.
_SMALL = 1 << 14
_SAMPLE = (1 << 13, 1 << 16)  # smallest and largest size of a sample, one value in 64 between them


def zeros_count(numel: int, sparsity: float) -> int:
    """Number of zeros that ``sparsity`` asks of ``numel`` weights: half-even rounding, 768 * 768 at 0.8 -> 471,859."""
    return round(numel * sparsity)


def magnitude_mask(weight: Tensor, sparsity: float) -> Tensor:
    """Keep the largest magnitudes of one matrix, see `keep_largest`; a weight that is zero stays pruned.

    Args:
        weight: any shape.
        sparsity: fraction in [0, 1).

    Returns:
        bool, the shape of ``weight``; exactly ``zeros_count`` entries are False, more only where the
        weight holds more zeros already.
    """
    return keep_largest([weight], zeros_count(weight.numel(), sparsity))[0]


def magnitude_masks(weights: Sequence[Tensor], sparsity: float) -> list[Tensor]:
    """The `magnitude_mask` of each matrix."""
    return _in_threads(lambda weight: magnitude_mask(weight, sparsity), weights)


def global_magnitude_masks(weights: Sequence[Tensor], sparsity: float) -> list[Tensor]:
    """Masks of several matrices under one threshold over all their magnitudes; shapes as given."""
    return keep_largest(weights, zeros_count(sum(weight.numel() for weight in weights), sparsity))


def keep_largest(scores: Sequence[Tensor], zeros: int) -> list[Tensor]:
    """Prune the ``zeros`` smallest magnitudes; of equal ones at the threshold the first in index order are kept.

    A score of 0 is never kept, so what was pruned before stays pruned. On a CPU one look at each score decides
    nearly all of them: a sorted sample gives two magnitudes between which the threshold lies almost surely, and only
    the few scores between them are ranked (Floyd & Rivest 1975, doi:10.1145/360680.360691). A bracket that misses
    is noticed by the counts, and all scores are ranked then.

    Args:
        scores: finite, any shapes; they are ranked together.
        zeros: how many to prune, 0 to the number of scores.

    Returns:
        bool, the shapes of ``scores``.
    """
    sizes = [score.numel() for score in scores]
    masks = None
    if zeros and sum(sizes) > _SMALL and _on_cpu(scores):
        masks = _keep_largest_by_bracket(scores, zeros, sum(sizes))
    if masks is None:
        magnitudes = torch.cat([score.detach().abs().flatten() for score in scores])
        masks = list(_keep_largest_by_rank(magnitudes, zeros).split(sizes))
    return [mask.view(score.shape) for mask, score in zip(masks, scores, strict=True)]


def _keep_largest_by_rank(magnitudes: Tensor, zeros: int) -> Tensor:
    if not zeros:
        return magnitudes > 0
    threshold = magnitudes.kthvalue(zeros).values
    keep = magnitudes > threshold
    if threshold > 0:
        ties = (magnitudes == threshold).nonzero().squeeze(1)
        keep[ties[: len(magnitudes) - zeros - int(keep.count_nonzero())]] = True
    return keep


def _keep_largest_by_bracket(scores: Sequence[Tensor], zeros: int, n: int) -> list[Tensor] | None:
    low, high = _bracket(scores, zeros, n)
    parts = _in_threads(lambda score: _decide(score, low, high), scores)
    undecided = torch.from_numpy(np.concatenate([magnitudes for _, _, magnitudes in parts]))
    below = n - len(undecided) - sum(int(np.count_nonzero(keep)) for keep, _, _ in parts)
    if not below < zeros <= below + len(undecided):
        return None
    decided = _keep_largest_by_rank(undecided, zeros - below).split([len(places) for _, places, _ in parts])
    for (keep, places, _), kept in zip(parts, decided, strict=True):
        keep[places] = kept.numpy()
    return [torch.from_numpy(keep) for keep, _, _ in parts]


def _bracket(scores: Sequence[Tensor], k: int, n: int) -> tuple[Any, Any]:
    """Two magnitudes between which the k-th smallest of all n lies almost surely."""
    size = min(max(n // 64, _SAMPLE[0]), _SAMPLE[1])
    step = n // size | 1  # odd, so that it does not fall on the same columns of every row
    sample = np.sort(np.concatenate([np.abs(_flat(score)[::step]) for score in scores]))
    rank = (len(sample) - 1) * (k - 1) / (n - 1)
    margin = 3.0 * (len(sample) * (k / n) * (1.0 - k / n)) ** 0.5 + 2.0  # three standard errors of the rank
    return sample[max(0, int(rank - margin))], sample[min(len(sample) - 1, int(rank + margin) + 1)]


def _decide(score: Tensor, low: Any, high: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which magnitudes are above ``high``; the places of those from ``low`` to ``high``, and these magnitudes.

    numpy compares several times faster than torch, and block by block in the cache of a core.
    """
    values = _flat(score)
    keep, places, magnitudes = np.empty(len(values), bool), [], []
    buffer = np.empty(min(_BLOCK, len(values)), values.dtype)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        block = np.abs(block, out=buffer[: len(block)])
        above = np.greater(block, high, out=keep[start : start + len(block)])
        between = np.flatnonzero((block >= low) ^ above)
        places.append(between + start)
        magnitudes.append(block[between])
    return keep, np.concatenate(places), np.concatenate(magnitudes)


def _flat(tensor: Tensor) -> np.ndarray:
    values = tensor.detach().reshape(-1)
    return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()


def _on_cpu(tensors: Sequence[Tensor]) -> bool:
    return all(tensor.device.type == "cpu" for tensor in tensors)


def _in_threads(work: Callable[[Tensor], Any], tensors: Sequence[Tensor]) -> list[Any]:
    """``work`` on each tensor, in order; numpy computes outside Python's lock, so that threads share the cores."""
    threads = min(torch.get_num_threads(), len(tensors))
    if threads == 1 or not _on_cpu(tensors):
        return [work(tensor) for tensor in tensors]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, tensors))


def count_zeros(weight: Tensor) -> int:
    """Number of weights that are zero."""
    is_zero = _flat(weight) == 0 if _on_cpu([weight]) else weight == 0
    return int(np.count_nonzero(is_zero) if _on_cpu([weight]) else is_zero.sum())


def pack_mask(mask: Tensor) -> Tensor:
    """A bool mask as uint8, eight entries a byte, ``(ceil(numel / 8),)``: small enough for every checkpoint."""
    bits = torch.nn.functional.pad(mask.flatten().to(torch.uint8), (0, -mask.numel() % 8)).view(-1, 8)
    return (bits << torch.arange(8, dtype=torch.uint8, device=mask.device)).sum(dim=1, dtype=torch.uint8)


def unpack_mask(packed: Tensor, shape: torch.Size) -> Tensor:
    """The bool mask of ``shape`` that `pack_mask` packed."""
    bits = (packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
    return bits.flatten()[: shape.numel()].view(shape).bool()
