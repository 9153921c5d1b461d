"""Magnitude masks: which weights a given sparsity keeps. True = keep, False = pruned."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Values worked on at a time on a CPU: they and their masks stay in the cache of a core.
_BLOCK = 1 << 17
# Up to this many values a plain selection is faster than sampling a bracket first.
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

    A score of 0 is never kept, so what was pruned before stays pruned.

    Args:
        scores: any shapes; they are ranked together.
        zeros: how many to prune, 0 to the number of scores.

    Returns:
        bool, the shapes of ``scores``.
    """
    threshold = kth_smallest_magnitude(scores, zeros) if zeros else 0.0
    masks = _in_threads(lambda score: _where(score, threshold, np.greater, torch.gt), scores)
    surplus = sum(mask.numel() for mask in masks) - zeros - sum(map(_count, masks))  # ties that may stay
    for score, mask in zip(scores, masks, strict=True):
        if not surplus or threshold == 0.0:
            break
        ties = _where(score, threshold, np.equal, torch.eq)
        if _count(ties):
            kept = ties.flatten().nonzero().squeeze(1)[:surplus]
            mask.view(-1)[kept] = True
            surplus -= len(kept)
    return masks


def kth_smallest_magnitude(tensors: Sequence[Tensor], k: int) -> float:
    """The k-th smallest magnitude (k from 1) over all tensors, exact, in about three elementwise passes on a CPU.

    A sorted sample brackets the answer, one pass counts what lies below the bracket and collects what lies
    inside, and only that is selected from (Floyd & Rivest 1975, doi:10.1145/360680.360691). A bracket that
    misses is noticed by the counts, and the plain selection then answers.

    Args:
        tensors: finite.
        k: in 1..n, the number of values in all.
    """
    if not _on_cpu(tensors):
        return float(torch.cat([t.detach().abs().flatten() for t in tensors]).kthvalue(k).values)
    n = sum(t.numel() for t in tensors)
    if n > _SMALL:
        low, high = _bracket(tensors, k, n)
        parts = _in_threads(lambda t: _split(t, low, high), tensors)
        below, inside = sum(count for count, _ in parts), np.concatenate([values for _, values in parts])
        if below < k <= below + len(inside):
            return float(np.partition(inside, k - below - 1)[k - below - 1])
    values = np.concatenate([np.abs(_flat(t)) for t in tensors])
    return float(np.partition(values, k - 1)[k - 1])


def _bracket(tensors: Sequence[Tensor], k: int, n: int) -> tuple[Any, Any]:
    """Two magnitudes between which the k-th smallest lies almost surely."""
    size = min(max(n // 64, _SAMPLE[0]), _SAMPLE[1])
    step = n // size | 1  # odd, so that it does not fall on the same columns of every row
    sample = np.sort(np.concatenate([np.abs(_flat(t)[::step]) for t in tensors]))
    rank = (len(sample) - 1) * (k - 1) / (n - 1)
    margin = 3.0 * (len(sample) * (k / n) * (1.0 - k / n)) ** 0.5 + 2.0  # three standard errors of the rank
    return sample[max(0, int(rank - margin))], sample[min(len(sample) - 1, int(rank + margin) + 1)]


def _split(tensor: Tensor, low: Any, high: Any) -> tuple[int, np.ndarray]:
    """How many magnitudes are below ``low``, and those from ``low`` to ``high``."""
    below, inside = 0, []
    for block in _magnitudes(tensor):
        under = block < low
        below += int(np.count_nonzero(under))
        inside.append(block[under ^ (block <= high)])
    return below, np.concatenate(inside)


def _where(tensor: Tensor, threshold: float, on_cpu: Callable, elsewhere: Callable) -> Tensor:
    """A comparison of the magnitudes with a threshold; numpy writes bools several times faster than torch."""
    if not _on_cpu([tensor]):
        return elsewhere(tensor.detach().abs(), threshold)
    mask, start = np.empty(tensor.numel(), bool), 0
    for block in _magnitudes(tensor):
        on_cpu(block, threshold, out=mask[start : start + len(block)])
        start += len(block)
    return torch.from_numpy(mask).view(tensor.shape)


def _magnitudes(tensor: Tensor) -> Iterator[np.ndarray]:
    """Absolute values block by block; each overwrites the one before."""
    flat = _flat(tensor)
    buffer = np.empty(min(_BLOCK, len(flat)), flat.dtype)
    for start in range(0, len(flat), _BLOCK):
        values = flat[start : start + _BLOCK]
        yield np.abs(values, out=buffer[: len(values)])


def _flat(tensor: Tensor) -> np.ndarray:
    values = tensor.detach().reshape(-1)
    return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()


def _count(mask: Tensor) -> int:
    return int(np.count_nonzero(mask.numpy()) if _on_cpu([mask]) else torch.count_nonzero(mask))


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
    return _count(_where(weight, 0.0, np.equal, torch.eq))


def pack_mask(mask: Tensor) -> Tensor:
    """A bool mask as uint8, eight entries a byte, ``(ceil(numel / 8),)``: small enough for every checkpoint."""
    bits = torch.nn.functional.pad(mask.flatten().to(torch.uint8), (0, -mask.numel() % 8)).view(-1, 8)
    return (bits << torch.arange(8, dtype=torch.uint8, device=mask.device)).sum(dim=1, dtype=torch.uint8)


def unpack_mask(packed: Tensor, shape: torch.Size) -> Tensor:
    """The bool mask of ``shape`` that `pack_mask` packed."""
    bits = (packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
    return bits.flatten()[: shape.numel()].view(shape).bool()
