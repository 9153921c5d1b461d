"""The latency of a model by the heads and neurons of its layers, added up from those of its blocks. Plain Python."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_FINEST = 16  # neurons between two sizes; kernels compute as many at once
_STEP = 0.85  # a size divided by the next larger one, where that leaves at least the finest distance


@dataclass(frozen=True)
class LatencyTable:
    """What each size of a block costs, in seconds of one call, or in multiply-accumulates.

    A block is the attention of a layer, with a number of heads, or its feed-forward network, with a number of neurons.
    All layers of an encoder cost the same.

    Args:
        heads: cost of the attention of one layer by its number of heads, ascending to all; never falls. It lacks 0
            where an empty block is slower than a small one, as in the sparse engine, which then unpacks its codes.
        neurons: cost of the feed-forward network of one layer by its number of neurons; likewise.
        rest: cost of everything that no size changes: embeddings, norms, pooler and head.
        dense: cost of the dense float32 model, the reference of a speedup.
    """

    heads: Mapping[int, float]
    neurons: Mapping[int, float]
    rest: float
    dense: float

    def total(self, layers: Iterable[tuple[int, int]]) -> float:
        """The cost of a model from the heads and neurons of each of its layers."""
        return self.rest + sum(self.heads[h] + self.neurons[n] for h, n in layers)

    def speedup(self, layers: Iterable[tuple[int, int]]) -> float:
        """How many times as fast as the dense float32 model."""
        return self.dense / self.total(layers)

    def highest_speedup(self, layers: int) -> float:
        """The speedup of so many layers with the smallest blocks of the table."""
        return self.speedup([(min(self.heads), min(self.neurons))] * layers)


def neuron_levels(neurons: int) -> list[int]:
    """The sizes of a feed-forward network that a table has, ascending from 0 to all.

    Each is about 0.85 of the next one, and a multiple of 16; a network of few neurons has multiples of 8 or 4.
    """
    finest = next((size for size in (_FINEST, 8) if neurons >= 16 * size), 4)
    levels, size = {0, neurons}, float(neurons)
    while size > finest:
        size = min(size * _STEP, size - finest)
        levels.add(max(finest, round(size / finest) * finest))
    return sorted(level for level in levels if level <= neurons)


def non_falling(values: Sequence[float]) -> list[float]:
    """The sequence that never falls with the least squared distance, by pooling adjacent violators.

    Barlow et al. 1972, Statistical Inference under Order Restrictions: neighbours in the wrong order get their mean.
    """
    pools: list[tuple[float, int]] = []  # mean and number of values
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, other = pools.pop()
            mean, count = (before * other + mean * count) / (other + count), other + count
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def additive_table(
    heads: Mapping[int, float],
    neurons: Mapping[int, float],
    anchor: tuple[int, int],
    layers: int,
    dense: float,
    *,
    least: float = 0.0,
) -> LatencyTable:
    """The table from the costs of models whose layers all have the same size.

    Args:
        heads: cost of the model by the heads of each layer, ascending, with the neurons of the anchor.
        neurons: cost of the model by the neurons of each layer, ascending, with the heads of the anchor.
        anchor: heads and neurons; the table gives exactly the cost of this model, up to the smoothing of noise.
        layers: of the model.
        dense: cost of the dense float32 model.
        least: cost that ``rest`` has at least. ``rest`` is a small difference of large costs, so noise can take all of
            it; what is missing then was counted as a block of size 0.
    """
    by_heads, by_neurons = (_non_falling_costs(costs) for costs in (heads, neurons))
    whole = (by_heads[anchor[0]] + by_neurons[anchor[1]]) / 2  # both are costs of the anchor
    rest = min(by_heads.values()) + min(by_neurons.values()) - whole
    missing = max(least - rest, 0.0)
    blocks = [_block_costs(costs, missing / 2, layers) for costs in (by_heads, by_neurons)]
    return LatencyTable(blocks[0], blocks[1], rest + missing, dense)


def _block_costs(costs: Mapping[int, float], missing: float, layers: int) -> dict[int, float]:
    """What each size adds to a layer of the smallest size, which costs more by what is missing of it."""
    smallest = min(costs.values()) + missing
    return {size: max(cost - smallest, 0.0) / layers for size, cost in costs.items()}


def _non_falling_costs(costs: Mapping[int, float]) -> dict[int, float]:
    """Costs without noise that lets them fall, and without size 0 if the next one costs less."""
    sizes = list(costs)
    if sizes[0] == 0 and costs[0] > costs[sizes[1]]:
        del sizes[0]
    return dict(zip(sizes, non_falling([costs[size] for size in sizes]), strict=True))


def table_json(table: LatencyTable) -> dict[str, Any]:
    """The table as plain JSON values."""
    return asdict(table)


def table_from_json(content: Any) -> LatencyTable:
    """The table that `table_json` gave, after it was written to JSON, which makes texts of the sizes.

    Raises:
        ValueError: if it is not such a table.
    """
    try:
        heads, neurons = ({int(n): float(cost) for n, cost in content[kind].items()} for kind in ("heads", "neurons"))
        table = LatencyTable(heads, neurons, float(content["rest"]), float(content["dense"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a latency table: {error!r}") from error
    costs = [*heads.values(), *neurons.values(), table.rest, table.dense]
    if not heads or not neurons or not all(math.isfinite(cost) and cost >= 0 for cost in costs) or not table.rest:
        raise ValueError("not a latency table: its costs are missing, negative or infinite")
    return table
