"""The latency of a model by the heads and neurons of its layers, added up from those of its blocks. Plain Python."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LatencyTable:
    """What each size of a block costs, in seconds of one call, or in multiply-accumulates.

    A block is the attention of a layer, with a number of heads, or its feed-forward network, with a number of neurons.
    All layers of an encoder cost the same.

    Args:
        heads: cost of the attention of one layer by its number of heads, ascending from 0 to all; never falls.
        neurons: cost of the feed-forward network of one layer by its number of neurons; likewise.
        rest: cost of the model without blocks: embeddings, norms, pooler and head.
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
