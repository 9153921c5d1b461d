from itertools import product

import numpy as np
import pytest

from winnow.functional.sparsity_allocation import allocate


def test_the_matrix_that_bears_pruning_is_pruned_more():
    assert allocate([100, 100], [0.5, 0.9], [[0.1, 8.0], [0.1, 0.2]], zeros=140) == pytest.approx([0.5, 0.9], abs=0.011)


def test_a_large_matrix_makes_more_zeros_for_the_same_loss():
    assert allocate([100, 300], [0.5], [[1.0], [1.0]], zeros=150) == pytest.approx([0.0, 0.5], abs=0.011)


@pytest.mark.parametrize("zeros", [0, 1, 237, 400, 474, 475])
def test_the_zeros_are_those_asked_for_and_no_sparsity_is_out_of_range(zeros):
    sizes = [100, 250, 150]
    chosen = allocate(sizes, [0.4, 0.6, 0.95], [[0.1, 0.3, 0.9], [0.2, 0.2, 0.4], [0.0, 0.5, 2.0]], zeros)
    assert sum(size * sparsity for size, sparsity in zip(sizes, chosen, strict=True)) == pytest.approx(zeros, abs=1e-6)
    assert all(-1e-9 <= sparsity <= 0.95 + 1e-9 for sparsity in chosen)


def test_a_loss_that_falls_counts_as_the_largest_before_it():
    assert allocate([100, 100], [0.5, 0.9], [[1.0, 0.5], [0.4, 0.9]], zeros=90) == pytest.approx([0.0, 0.9], abs=0.011)


def test_the_sum_of_the_losses_is_the_least_of_all_combinations():
    rng = np.random.default_rng(0)
    levels = [0.3, 0.6, 0.9]
    for _ in range(20):
        losses = np.sort(rng.random((3, 3)), axis=1)
        curves = np.insert(losses, 0, 0.0, axis=1)
        zeros = int(rng.integers(30, 270))
        chosen = allocate([100] * 3, levels, losses.tolist(), zeros)
        found = sum(np.interp(s, [0.0, *levels], curve) for s, curve in zip(chosen, curves, strict=True))
        grid = np.arange(0, 91)
        every = [np.interp(grid / 100, [0.0, *levels], curve) for curve in curves]
        best = min(
            every[0][i] + every[1][j] + every[2][zeros - i - j]
            for i, j in product(grid, grid)
            if 0 <= zeros - i - j <= 90
        )
        assert best - 1e-9 <= found <= best + 0.02  # a step of 0.01 for each matrix
