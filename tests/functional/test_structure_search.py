from itertools import product

import numpy as np
import pytest

from winnow.functional.structure_search import BlockCosts, cheapest, search, uniform

HALVES = BlockCosts(levels=[0, 1, 2], times=[0.0, 1.0, 2.0], errors=[4.0, 1.0, 0.0])


def random_blocks(rng, count):
    blocks = []
    for _ in range(count):
        size = int(rng.integers(2, 6))
        levels = [0, *sorted(rng.choice(np.arange(1, 30), size - 1, replace=False).tolist())]
        times = np.sort(rng.random(size))
        times[0] *= rng.integers(0, 2)  # an empty block may cost its bias
        errors = np.append(np.sort(rng.random(size - 1))[::-1], 0.0)
        blocks.append(BlockCosts(levels, times.tolist(), errors.tolist()))
    return blocks


def time_of(blocks, levels):
    return sum(block.times[level] for block, level in zip(blocks, levels, strict=True))


def error_of(blocks, weights, levels):
    return sum(w * block.errors[level] for w, block, level in zip(weights, blocks, levels, strict=True))


def least_error(blocks, weights, budget):
    """The least weighted error of all combinations that fit, infinite if none does."""
    combinations = product(*(range(len(block.levels)) for block in blocks))
    fitting = (levels for levels in combinations if time_of(blocks, levels) <= budget)
    return min((error_of(blocks, weights, levels) for levels in fitting), default=np.inf)


@pytest.mark.parametrize("buckets", [7, 100, 2000])
def test_the_dynamic_program_is_optimal_up_to_a_bucket_for_each_block_and_never_over_budget(buckets):
    rng = np.random.default_rng(0)
    for _ in range(40):
        blocks = random_blocks(rng, 4)
        weights = rng.random(4).tolist()
        lowest, highest = time_of(blocks, [0] * 4), sum(block.times[-1] for block in blocks)
        budget = lowest + rng.random() * (highest - lowest)
        levels = cheapest(blocks, weights, budget, buckets)
        assert time_of(blocks, levels) <= budget
        rounding = 4 * (budget - lowest) / buckets + 1e-9
        error = error_of(blocks, weights, levels)
        assert least_error(blocks, weights, budget) - 1e-12 <= error
        assert error <= least_error(blocks, weights, budget - rounding) + 1e-12


def test_the_weights_of_the_errors_decide_which_block_is_cut():
    assert cheapest([HALVES, HALVES], [1.0, 1.0], 2.0) == [1, 1]  # 1 + 1, not 4 + 0
    assert cheapest([HALVES, HALVES], [1.0, 10.0], 2.0) == [0, 2]  # 4 + 0, not 1 + 10
    assert cheapest([HALVES, HALVES], [10.0, 1.0], 2.0) == [2, 0]


@pytest.mark.parametrize("buckets", [1, 2000])
def test_a_budget_for_everything_keeps_everything_however_coarse_the_buckets(buckets):
    assert cheapest([HALVES] * 3, [1.0] * 3, 6.0, buckets) == [2, 2, 2]
    assert uniform([HALVES] * 3, 6.0) == [2, 2, 2]


def test_what_the_rounding_leaves_goes_where_the_error_falls_most():
    assert cheapest([HALVES] * 3, [1.0, 3.0, 2.0], 2.0, buckets=1) == [0, 1, 1]


def test_a_budget_of_the_empty_blocks_keeps_only_what_is_free():
    free = BlockCosts([0, 5], times=[1.0, 1.0], errors=[1.0, 0.0])
    paid = BlockCosts([0, 5], times=[1.0, 1.5], errors=[1.0, 0.0])
    assert cheapest([free, paid], [1.0, 1.0], 2.0) == [1, 0]


@pytest.mark.parametrize("choose", [lambda b, budget: cheapest(b, [1.0] * len(b), budget), uniform])
def test_a_budget_below_the_empty_blocks_is_refused(choose):
    with pytest.raises(ValueError, match=r"empty blocks cost 0\.5, which is above the budget of 0\.4"):
        choose([HALVES, BlockCosts([0, 1], [0.5, 1.0], [1.0, 0.0])], 0.4)


def test_uniform_keeps_the_largest_fraction_that_fits():
    heads = BlockCosts([0, 1, 2, 3, 4], [0.0, 1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0, 0.0])
    neurons = BlockCosts([0, 10, 25, 100], [0.0, 1.0, 2.0, 8.0], [4.0, 3.0, 2.0, 0.0])
    assert uniform([heads, neurons], 5.9) == [3, 2]  # three quarters, and 25 of 100
    assert uniform([heads, neurons], 4.9) == [2, 2]
    assert uniform([heads, neurons], 2.9) == [1, 1]  # a tenth: one head although it is a quarter
    assert uniform([heads, neurons], 1.9) == [0, 1]  # one head does not fit
    assert uniform([heads, neurons], 0.9) == [0, 0]


def test_uniform_never_exceeds_the_budget_and_no_fraction_that_fits_keeps_more():
    rng = np.random.default_rng(1)
    for _ in range(30):
        blocks = random_blocks(rng, 3)
        budget = time_of(blocks, [1] * 3) + rng.random()
        chosen = uniform(blocks, budget)
        assert time_of(blocks, chosen) <= budget
        for fraction in np.linspace(0, 1, 201):
            levels = [max(1, sum(n <= fraction * b.levels[-1] + 1e-9 for n in b.levels) - 1) for b in blocks]
            if time_of(blocks, levels) <= budget:
                assert all(np.array(levels) <= chosen)


def weighted(blocks, weights):
    """A divergence that is exactly a weighted sum of the errors, and that of one block alone."""
    return (
        lambda levels: error_of(blocks, weights, levels),
        lambda block, level: weights[block] * blocks[block].errors[level],
    )


def test_measured_weights_find_the_best_levels_of_an_additive_divergence():
    rng = np.random.default_rng(2)
    for _ in range(10):
        blocks = random_blocks(rng, 4)
        weights = (rng.random(4) + 0.1).tolist()
        budget = 0.6 * sum(block.times[-1] for block in blocks) + 0.4 * time_of(blocks, [0] * 4)
        levels, value = search(blocks, budget, *weighted(blocks, weights), restarts=0, seed=0)
        assert time_of(blocks, levels) <= budget
        assert value == pytest.approx(error_of(blocks, weights, levels))
        assert value <= least_error(blocks, weights, budget * (1 - 0.005)) + 1e-9


def test_uniform_levels_stay_where_nothing_diverges_less():
    even = uniform([HALVES] * 4, 4.0)
    levels, value = search([HALVES] * 4, 4.0, lambda levels: float(levels != even), lambda i, _: 10.0**-i, 20, 0)
    assert (levels, value) == (even, 0.0)
    assert cheapest([HALVES] * 4, [1.0, 0.1, 0.01, 0.001], 4.0) != even


def test_a_search_is_deterministic_measures_no_levels_twice_and_gains_by_restarts():
    rng = np.random.default_rng(3)
    blocks = random_blocks(rng, 6)
    budget = 0.5 * sum(block.times[-1] for block in blocks) + 0.5 * time_of(blocks, [0] * 6)
    weights = np.exp(rng.normal(0, 2, 6)).tolist()

    def run(restarts, seed):
        calls = []

        def divergence(levels):
            calls.append(tuple(levels))
            return error_of(blocks, weights, levels)

        return search(blocks, budget, divergence, lambda block, level: 1.0, restarts, seed), calls

    (levels, value), calls = run(30, 0)
    assert ((levels, value), calls) == run(30, 0)
    assert calls != run(30, 1)[1]
    assert len(set(calls)) == len(calls)
    assert value == error_of(blocks, weights, levels) == min(error_of(blocks, weights, tried) for tried in calls)
    assert value < run(0, 0)[0][1]


def test_restarts_go_on_from_the_best_weights_so_far():
    tenths = BlockCosts(list(range(11)), [float(i) for i in range(11)], [(1 - i / 10) ** 2 for i in range(11)])
    blocks, weights = [tenths] * 10, [4.0**i for i in range(10)]  # too far from equal weights for one variation
    divergence, _ = weighted(blocks, weights)
    _, value = search(blocks, 50.0, divergence, lambda block, level: 1.0, restarts=100, seed=0)
    assert value < 10 * divergence(cheapest(blocks, weights, 50.0))  # variations of the first weights end above 70


def test_a_block_is_measured_where_it_is_cut_and_not_at_all_if_it_has_no_error():
    calls = []

    def alone(block, level):
        calls.append((block, level))
        return 1.0

    free = BlockCosts([0, 1], [0.0, 0.0], [0.0, 0.0])
    cut = BlockCosts([0, 1, 2], [0.0, 1.0, 2.0], [4.0, 1.0, 0.0])
    search([free, cut, cut], 4.0, lambda levels: 0.0, alone, restarts=0, seed=0)
    assert calls == [(1, 1), (2, 1)]  # all fits, so the uniform level has no error: the one below is measured
