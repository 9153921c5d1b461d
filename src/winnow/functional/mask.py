"""Masks: which weights a given sparsity keeps, in which structure. True = keep, False = pruned."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.functional.ranking import CACHED, flat, floor, in_threads, keep_largest, on_cpu
from winnow.functional.structure import UNSTRUCTURED, Structure


def pruning_mask(
    scores: Tensor, sparsity: float, structure: Structure = UNSTRUCTURED, *, signed: bool = False
) -> Tensor:
    """Keep the highest scores of one matrix, see `keep_largest`; a weight that is zero stays pruned.

    The score of a block is the mean of its scores. A pattern N:M prunes all but the N highest scores of each group;
    below the sparsity of the pattern, only the lowest of these are pruned.

    Args:
        scores: ``(rows, columns)``, the columns divisible by the structure's width; unstructured, any shape. The
            weights themselves for magnitude pruning.
        sparsity: fraction in [0, 1).
        signed: rank by the scores, not by their magnitudes; -inf marks weights that stay pruned.

    Returns:
        bool, the shape of ``scores``; exactly ``structure.zeros`` entries are False, more only if the scores mark
        more weights as pruned already.
    """
    zeros = structure.zeros(scores.numel(), sparsity)
    if structure.group:
        return _groups_mask(scores, zeros, structure, signed)
    blocks = _block_scores(scores, structure.block, signed)
    return _whole_blocks(keep_largest([blocks], zeros // structure.block, signed=signed)[0], structure.block)


def pruning_masks(
    scores: Sequence[Tensor],
    sparsities: Sequence[float],
    structure: Structure = UNSTRUCTURED,
    *,
    signed: bool = False,
) -> list[Tensor]:
    """The `pruning_mask` of each matrix."""
    return in_threads(lambda s, sparsity: pruning_mask(s, sparsity, structure, signed=signed), scores, sparsities)


def global_pruning_masks(
    scores: Sequence[Tensor], sparsity: float, structure: Structure = UNSTRUCTURED, *, signed: bool = False
) -> list[Tensor]:
    """Masks of several matrices under one threshold over all their scores, or blocks; shapes as given."""
    zeros = structure.zeros(sum(score.numel() for score in scores), sparsity)
    blocks = in_threads(lambda score: _block_scores(score, structure.block, signed), scores)
    masks = keep_largest(blocks, zeros // structure.block, signed=signed)
    return [_whole_blocks(mask, structure.block) for mask in masks]


def _block_scores(scores: Tensor, block: int, signed: bool) -> Tensor:
    """The mean score of each block, ``(rows, columns / block)``."""
    if block == 1:
        return scores
    values = scores.detach().reshape(-1, block)
    if not on_cpu([scores]):
        means = (values if signed else values.abs()).float().mean(dim=1)
    else:
        means = torch.from_numpy(np.concatenate([_sums(part, signed) for part in _parts(flat(values), block)])) / block
    return means.view(*scores.shape[:-1], -1)


def _sums(blocks: np.ndarray, signed: bool) -> np.ndarray:
    columns = (blocks if signed else np.abs(blocks)).T
    total: np.ndarray = columns[0] + columns[1]
    for column in columns[2:]:
        total += column
    return total


def _whole_blocks(mask: Tensor, block: int) -> Tensor:
    """The mask of weights from the mask of blocks: ``(rows, columns / block)`` -> ``(rows, columns)``."""
    if block == 1:
        return mask
    assert block == 4
    return (mask.view(torch.uint8).int() * 0x01010101).view(torch.bool)  # the byte of each block, four times


def _groups_mask(scores: Tensor, zeros: int, structure: Structure, signed: bool) -> Tensor:
    keep = _first_of_groups(scores, structure, signed)
    if zeros == structure.zeros(scores.numel(), structure.sparsity or 0.0):
        return keep
    values = scores.detach() if signed else scores.detach().abs()
    largest = torch.finfo(values.dtype).max  # added where the pattern keeps: on a CPU ten times faster than a fill
    return keep_largest([values.add(keep.view(torch.uint8), alpha=largest)], zeros, signed=signed)[0]


def _first_of_groups(scores: Tensor, structure: Structure, signed: bool) -> Tensor:
    """The mask of the weights that a pattern N:M keeps: the largest of each group; of equal ones the first."""
    if not on_cpu([scores]):
        columns = scores.detach().reshape(-1, structure.group).T.contiguous()
        columns = columns if signed else columns.abs()
        ranks = torch.empty(columns.shape, dtype=torch.uint8, device=scores.device)
        kept: Tensor = (_ranks(columns, ranks) < structure.kept) & (columns > floor(signed))
        return kept.T.reshape(scores.shape)
    values = flat(scores)
    mask = np.empty(len(values), bool)
    for part, keep in zip(_parts(values, structure.group), _parts(mask, structure.group), strict=True):
        groups = np.array(part.T, order="C") if signed else np.abs(part.T, order="C")
        ranks = _ranks(groups, np.empty(groups.shape, np.uint8))
        keep[:] = ((ranks < structure.kept) & (groups > floor(signed))).T
    return torch.from_numpy(mask).view(scores.shape)


def _ranks(columns: Any, ranks: Any) -> Any:
    """For each score, how many of its group rank before it, written to ``ranks``; both ``(group, groups)``."""
    for i in range(len(columns)):
        ranks[i] = i  # all earlier ones rank before it, except those that it exceeds
        for j in range(i):
            exceeds = (columns[i] > columns[j]).view(ranks.dtype)
            ranks[i] -= exceeds
            ranks[j] += exceeds
    return ranks


def _parts(values: np.ndarray, width: int) -> Iterator[np.ndarray]:
    """``(n, width)`` views of the values, small enough for the cache of a core."""
    rows = values.reshape(-1, width)
    size = CACHED // width
    return (rows[start : start + size] for start in range(0, len(rows), size))


def count_zeros(weight: Tensor) -> int:
    """Number of weights that are zero; of a mask, number of weights that it prunes."""
    if not on_cpu([weight]):
        return int((weight == 0).sum())
    values = flat(weight)
    return len(values) - int(np.count_nonzero(values if values.dtype == bool else values != 0))


def count_pruned(weight: Tensor, structure: Structure) -> int:
    """Number of zeros that follow the structure: in whole blocks; in each group no more than the pattern prunes.

    Args:
        weight: ``(rows, columns)``, the columns divisible by the structure's width; unstructured, any shape.
    """
    if structure.width == 1:
        return count_zeros(weight)
    zeros = (weight.detach() == 0).view(-1, structure.width).sum(dim=1)
    if structure.group:
        return int(zeros.clamp(max=structure.group - structure.kept).sum())
    return structure.block * int((zeros == structure.block).sum())


def pack_mask(mask: Tensor) -> Tensor:
    """A bool mask as uint8, eight entries a byte, ``(ceil(numel / 8),)``, to keep checkpoints small."""
    bits = torch.nn.functional.pad(mask.flatten().to(torch.uint8), (0, -mask.numel() % 8)).view(-1, 8)
    return (bits << torch.arange(8, dtype=torch.uint8, device=mask.device)).sum(dim=1, dtype=torch.uint8)


def unpack_mask(packed: Tensor, shape: torch.Size) -> Tensor:
    """The bool mask of ``shape`` that `pack_mask` packed."""
    bits = (packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
    return bits.flatten()[: shape.numel()].view(shape).bool()
