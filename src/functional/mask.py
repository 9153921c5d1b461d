"""Magnitude masks: which weights a given sparsity keeps. True = keep, False = pruned."""

import torch
from torch import Tensor

# Below this many values a plain selection is faster than sampling a bracket first.
_SMALL = 1 << 14
_SAMPLE = 1 << 12


def zeros_count(numel: int, sparsity: float) -> int:
    """Number of zeros that ``sparsity`` asks of ``numel`` weights: half-even rounding, 768 * 768 at 0.8 -> 471,859."""
    return round(numel * sparsity)


def kth_smallest(values: Tensor, k: int) -> Tensor:
    """The k-th smallest value (k from 1), exact, in about three elementwise passes for large inputs.

    A sorted sample brackets the answer, one pass counts what lies below the bracket, and only what
    lies inside is selected from (Floyd & Rivest 1975, doi:10.1145/360680.360691). A bracket that misses is
    noticed by the counts, and the plain selection then answers.

    Args:
        values: ``(n,)``, finite.
        k: in 1..n.
    """
    n = values.numel()
    if n <= _SMALL:
        return values.kthvalue(k).values
    sample = values[:: n // _SAMPLE].sort().values
    rank = (len(sample) - 1) * (k - 1) / (n - 1)
    margin = 4.0 * (len(sample) * (k / n) * (1.0 - k / n)) ** 0.5 + 2.0  # four standard errors of the rank
    low = sample[max(0, int(rank - margin))]
    high = sample[min(len(sample) - 1, int(rank + margin) + 1)]
    below = int(torch.count_nonzero(values < low))
    inside = values[(values >= low) & (values <= high)]
    if not below < k <= below + inside.numel():
        return values.kthvalue(k).values
    return inside.kthvalue(k - below).values


def magnitude_mask(weight: Tensor, sparsity: float) -> Tensor:
    """Keep the largest magnitudes of one matrix, see `mask_of_scores`; a weight that is zero stays pruned.

    Args:
        weight: any shape.
        sparsity: fraction in [0, 1).

    Returns:
        bool, the shape of ``weight``; exactly ``zeros_count`` entries are False, more only where the
        weight holds more zeros already.
    """
    return keep_largest(weight.detach().abs(), zeros_count(weight.numel(), sparsity))


def global_magnitude_masks(weights: list[Tensor], sparsity: float) -> list[Tensor]:
    """Masks of several matrices under one threshold over all their magnitudes; shapes as given."""
    scores = torch.cat([weight.detach().abs().flatten() for weight in weights])
    keep = keep_largest(scores, zeros_count(scores.numel(), sparsity))
    parts = keep.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def keep_largest(scores: Tensor, zeros: int) -> Tensor:
    """Prune the ``zeros`` smallest scores; of equal scores at the threshold the first in index order are kept.

    A score of 0 is never kept, so what was pruned before stays pruned.

    Args:
        scores: any shape, non-negative.
        zeros: how many to prune, 0..numel.

    Returns:
        bool, the shape of ``scores``.
    """
    if zeros == 0:
        return scores > 0
    threshold = kth_smallest(scores.flatten(), zeros)
    keep = scores > threshold
    surplus = scores.numel() - zeros - int(torch.count_nonzero(keep))  # ties that may stay
    if surplus and threshold > 0:
        ties = (scores == threshold).flatten().nonzero().squeeze(1)
        keep.view(-1)[ties[:surplus]] = True
    return keep


def pack_mask(mask: Tensor) -> Tensor:
    """A bool mask as uint8, eight entries a byte, ``(ceil(numel / 8),)``: small enough for every checkpoint."""
    bits = torch.nn.functional.pad(mask.flatten().to(torch.uint8), (0, -mask.numel() % 8)).view(-1, 8)
    return (bits << torch.arange(8, dtype=torch.uint8, device=mask.device)).sum(dim=1, dtype=torch.uint8)


def unpack_mask(packed: Tensor, shape: torch.Size) -> Tensor:
    """The bool mask of ``shape`` that `pack_mask` packed."""
    bits = (packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
    return bits.flatten()[: shape.numel()].view(shape).bool()
