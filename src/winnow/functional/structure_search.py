"""How much of each block to keep so that a model is fast enough and differs least from the dense one."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_LEAST_DIVERGENCE = 1e-5  # nats; less is noise of the measurement
_VARIED, _SPREAD = 0.3, 0.7  # fraction of the weights that a restart changes, and the deviation of their logarithms


@dataclass(frozen=True)
class BlockCosts:
    """What the sizes of one block cost: the attention of a layer, or its feed-forward network.

    Args:
        levels: numbers of structures, ascending, from 0 to all.
        times: cost of each level, in seconds or multiply-accumulates; never falls.
        errors: error of each level; never rises, 0 where all is kept.
    """

    levels: Sequence[int]
    times: Sequence[float]
    errors: Sequence[float]


def cheapest(
    blocks: Sequence[BlockCosts], weights: Sequence[float] | np.ndarray, budget: float, buckets: int = 2000
) -> list[int]:
    """The levels of least weighted error within a budget, by the dynamic program of SPDY (arXiv:2201.13096).

    Times are rounded up to a ``buckets``-th of what the budget leaves beyond the smallest levels. What that rounding
    leaves unspent raises single levels while it lasts.

    Args:
        weights: of the errors of each block, at least 0.
        budget: for the sum of the times.

    Returns:
        The index of a level for each block; the sum of their times is never above the budget.

    Raises:
        ValueError: if the smallest levels do not fit.
    """
    # A hair below the budget, so that rounding errors of the sums of floats stay within it.
    spare = max(budget * (1 - 1e-12) - _smallest_time(blocks, budget), 0.0)
    costs = [weight * np.asarray(block.errors, float) for block, weight in zip(blocks, weights, strict=True)]
    steps = [_buckets(block.times, spare, buckets) for block in blocks]
    least = np.zeros(buckets + 1)  # weighted error of the blocks so far by the buckets that they may use
    choices = []
    for cost, step in zip(costs, steps, strict=True):
        # Row i: the error with level i, infinite where its time does not fit.
        padded = np.concatenate([np.full(buckets, np.inf), least])
        rows = np.lib.stride_tricks.sliding_window_view(padded, buckets + 1)[buckets - step[step <= buckets]]
        totals = rows + cost[: len(rows), None]
        choices.append(totals.argmin(axis=0))
        least = totals.min(axis=0)
    levels: list[int] = []
    free = buckets
    for choice, step in zip(reversed(choices), reversed(steps), strict=True):
        levels.insert(0, int(choice[free]))
        free -= step[levels[0]]
    return _spend_rest(blocks, costs, levels, budget)


def uniform(blocks: Sequence[BlockCosts], budget: float) -> list[int]:
    """The levels that keep the same fraction of every block, the largest that fits.

    Each block gets its largest level that is at most this fraction of all, but not level 0 if the budget allows that
    for all blocks.

    Raises:
        ValueError: if the smallest levels do not fit.
    """
    _smallest_time(blocks, budget)
    fractions = sorted({level / block.levels[-1] for block in blocks for level in block.levels}, reverse=True)
    candidates = ([_level(block, f, least) for block in blocks] for least in (1, 0) for f in fractions)
    return next(levels for levels in candidates if _time(blocks, levels) <= budget)


def search(
    blocks: Sequence[BlockCosts],
    budget: float,
    divergence: Callable[[list[int]], float],
    alone: Callable[[int, int], float],
    restarts: int,
    seed: int,
) -> tuple[list[int], float]:
    """The best levels by a measured divergence, of the uniform ones and of many dynamic programs.

    Errors of different blocks do not compare, so each block's are weighted: first such that its error at the uniform
    level is its divergence there, then by random variations of the best weights so far, as in SPDY.

    Args:
        budget: for the sum of the times.
        divergence: of a model with these levels from the dense one; called once for the same levels.
        alone: the divergence where only one block, the first argument, is cut, to the level with this index.
        restarts: number of random variations.

    Returns:
        The index of a level for each block, and their divergence; the same for the same seed.

    Raises:
        ValueError: if the smallest levels do not fit.
    """
    measured: dict[tuple[int, ...], float] = {}

    def measure(levels: list[int]) -> float:
        key = tuple(levels)
        if key not in measured:
            measured[key] = divergence(levels)
        return measured[key]

    even = uniform(blocks, budget)
    best = np.array(
        [_weight(block, level, i, alone) for i, (block, level) in enumerate(zip(blocks, even, strict=True))]
    )
    value = measure(cheapest(blocks, best, budget))
    measure(even)
    rng = np.random.default_rng(seed)
    for _ in range(restarts):
        varied = rng.random(len(blocks)) < _VARIED
        weights = best * np.exp(rng.normal(0.0, _SPREAD, len(blocks)) * varied)
        candidate = measure(cheapest(blocks, weights, budget))
        if candidate < value:
            best, value = weights, candidate
    levels = min([tuple(even), *measured], key=lambda key: measured[key])
    return list(levels), measured[levels]


def _time(blocks: Sequence[BlockCosts], levels: Sequence[int]) -> float:
    return sum(block.times[level] for block, level in zip(blocks, levels, strict=True))


def _smallest_time(blocks: Sequence[BlockCosts], budget: float) -> float:
    smallest = _time(blocks, [0] * len(blocks))
    if smallest > budget:
        raise ValueError(f"empty blocks cost {smallest:g}, which is above the budget of {budget:g}")
    return smallest


def _buckets(times: Sequence[float], spare: float, buckets: int) -> np.ndarray:
    """How many buckets each level takes beyond the smallest, rounded up; ``buckets + 1`` if it does not fit."""
    return np.searchsorted(np.linspace(0.0, spare, buckets + 1), np.asarray(times, float) - times[0])


def _spend_rest(
    blocks: Sequence[BlockCosts], costs: Sequence[np.ndarray], levels: list[int], budget: float
) -> list[int]:
    """Raise one level after another, the largest fall of the weighted error first, while the budget lasts."""
    while True:
        raised = [[level + (i == j) for j, level in enumerate(levels)] for i in range(len(levels))]
        falls = [
            (cost[level] - cost[level + 1], higher)
            for block, cost, level, higher in zip(blocks, costs, levels, raised, strict=True)
            if level + 1 < len(block.levels) and _time(blocks, higher) <= budget
        ]
        fall, higher = max(falls, default=(0.0, levels))
        if fall <= 0:
            return levels
        levels = higher


def _level(block: BlockCosts, fraction: float, least: int) -> int:
    """The largest level that is at most this fraction of all, or the level with index ``least`` if that is larger."""
    kept = [level / block.levels[-1] for level in block.levels]
    return max(bisect_right(kept, fraction) - 1, least)


def _weight(block: BlockCosts, level: int, index: int, alone: Callable[[int, int], float]) -> float:
    """The divergence that one unit of a block's error causes, measured at the largest level with an error from here."""
    while level and not block.errors[level]:
        level -= 1
    if not block.errors[level]:
        return 0.0
    return max(alone(index, level), _LEAST_DIVERGENCE) / block.errors[level]
