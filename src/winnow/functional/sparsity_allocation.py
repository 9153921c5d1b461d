"""How sparse to make each matrix so that all together reach a sparsity and lose least."""

from collections.abc import Sequence

import numpy as np

from winnow.functional.structure_search import BlockCosts, cheapest

_STEP = 0.01  # between the sparsities that a matrix may get


def allocate(
    sizes: Sequence[int],
    sparsities: Sequence[float],
    losses: Sequence[Sequence[float]],
    zeros: int,
) -> list[float]:
    """The sparsities with the least sum of losses and ``zeros`` zeros in all, by the dynamic program of `cheapest`.

    A loss between two measured sparsities is interpolated; at sparsity 0 it is 0, and it never falls: where a measured
    loss does, that is noise, and the largest before it counts.

    Args:
        sizes: weights of each matrix.
        sparsities: ascending, those that were measured, above 0.
        losses: of each matrix alone at each of ``sparsities``.
        zeros: in all matrices together; not more than the last of ``sparsities`` makes.

    Returns:
        The sparsity of each matrix, up to the last of ``sparsities``; their zeros are ``zeros`` in all, up to rounding
        errors of floats.
    """
    grid = np.append(np.arange(sparsities[-1], 0.0, -_STEP), 0.0)  # falls, so that kept weights rise
    blocks = []
    for size, values in zip(sizes, losses, strict=True):
        errors = np.interp(grid, [0.0, *sparsities], np.maximum.accumulate([0.0, *values]))
        blocks.append(BlockCosts(range(len(grid)), (size * (1.0 - grid)).tolist(), errors.tolist()))
    budget = max(float(sum(sizes) - zeros), sum(block.times[0] for block in blocks))
    levels = cheapest(blocks, [1.0] * len(blocks), budget)
    kept = [block.times[level] for block, level in zip(blocks, levels, strict=True)]
    # What is left is less than a step of any matrix that would gain by one.
    most = max(range(len(sizes)), key=lambda i: sizes[i] - kept[i])
    kept[most] += budget - sum(kept)
    return [1.0 - k / size for k, size in zip(kept, sizes, strict=True)]
