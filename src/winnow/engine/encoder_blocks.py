"""Find the parts of a transformer encoder in a quantised graph: attention, linear with activation, linear with norm."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from winnow.engine.quantized_graph import BLOCK, Grid, Linear, Quantized, QuantizedGraph, attribute

_TO_HEADS, _TO_KEYS = [0, 2, 1, 3], [0, 1, 3, 2]  # permutations of (batch, tokens, heads, size), (..., tokens, size)


@dataclass(frozen=True)
class Attention:
    """Self-attention from one quantised input to its context.

    Args:
        query, key, value: the linear layers, with the same input.
        grids: of query, key, probabilities and value.
        scale: of the product of query and key.
        mask: name of the tensor that is added to the scores, (batch, 1, 1, tokens).
        head_size: features of one head.
        context: name of the result, (batch, tokens, features).
    """

    query: Linear
    key: Linear
    value: Linear
    grids: tuple[Grid, Grid, Grid, Grid]
    scale: float
    mask: str
    head_size: int
    context: str


@dataclass(frozen=True)
class Activated:
    """A linear layer and the activation of its result, ``gelu`` or ``relu``."""

    linear: Linear
    activation: str
    output: str


@dataclass(frozen=True)
class Normalized:
    """A linear layer, a residual connection and a layer normalisation."""

    linear: Linear
    residual: str
    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float
    output: str


class BlockFinder:
    """Looks for encoder blocks around the linear layers of a graph."""

    def __init__(self, graph: QuantizedGraph, linears: Iterable[Linear]) -> None:
        self.graph = graph
        self.linears: Mapping[str, Linear] = {linear.output: linear for linear in linears}

    def normalized(self, linear: Linear) -> Normalized | None:
        graph = self.graph
        added = graph.only_consumer(linear.output, "Add")
        norm = graph.only_consumer(added.output[0], "LayerNormalization") if added else None
        if added is None or norm is None or attribute(norm, "axis", -1) not in (-1, 2) or len(norm.input) < 3:
            return None
        gamma, beta = (graph.constant(name) for name in norm.input[1:3])
        (residual,) = [name for name in added.input if name != linear.output] or [None]
        if gamma is None or beta is None or residual is None or len(linear.weight) % BLOCK:
            return None
        return Normalized(linear, residual, gamma, beta, float(attribute(norm, "epsilon", 1e-5)), norm.output[0])

    def activated(self, linear: Linear) -> Activated | None:
        if len(linear.weight) % BLOCK:
            return None
        if node := self.graph.only_consumer(linear.output, "Relu"):
            return Activated(linear, "relu", node.output[0])
        node = self.graph.only_consumer(linear.output, "Gelu")
        if node is not None and attribute(node, "approximate", b"none") == b"none":
            return Activated(linear, "gelu", node.output[0])
        output = self._gelu_by_erf(linear.output)
        return Activated(linear, "gelu", output) if output else None

    def _gelu_by_erf(self, x: str) -> str | None:
        """The result of ``0.5 x (1 + erf(x / sqrt 2))``, as graphs of opsets without Gelu compute it."""
        steps: list[tuple[str, float | None]] = [("Div", 2**0.5), ("Erf", None), ("Add", 1.0), ("Mul", 0.5)]
        name = x
        for kind, number in steps:
            readers = [node for node in self.graph.consumers[name] if node.op_type == kind]
            if len(readers) != 1 or len(self.graph.consumers[name]) > 1 + (name == x):
                return None
            if number is not None and not self._has_number(readers[0], number):
                return None
            name = str(readers[0].output[0])
        product = self.graph.only_consumer(name, "Mul")
        whole = product is not None and x in product.input and x not in self.graph.outputs
        return str(product.output[0]) if product is not None and whole else None

    def _has_number(self, node: onnx.NodeProto, number: float) -> bool:
        values = [value for name in node.input if (value := self.graph.constant(name)) is not None]
        return any(value.size == 1 and np.isclose(float(value), number, rtol=1e-5) for value in values)

    def _constant_factor(self, node: onnx.NodeProto) -> float | None:
        """The number by which a Mul or Div node multiplies, or None."""
        for name in node.input:
            value = self.graph.constant(name)
            if value is not None and value.size == 1:
                return 1 / float(value) if node.op_type == "Div" else float(value)
        return None

    def attention(self, output: Linear) -> Attention | None:
        """The attention whose context is the input of a linear layer."""
        graph = self.graph
        merged = graph.producer(output.x.source, "Reshape")
        turned = self._transposed(merged.input[0], _TO_HEADS) if merged else None
        product = graph.producer(turned, "MatMul") if turned else None
        if product is None:
            return None
        probabilities, value = graph.quantized(product.input[0]), graph.quantized(product.input[1])
        softmax = graph.producer(probabilities.source, "Softmax") if probabilities else None
        masked = graph.producer(softmax.input[0], "Add") if softmax else None
        if probabilities is None or value is None or masked is None:
            return None
        scores, mask = self._scores(masked)
        if scores is None:
            return None
        node, scale = scores
        query, key = graph.quantized(node.input[0]), self._transposed_key(node.input[1])
        if query is None or key is None:
            return None
        found = [self._heads(each.source) for each in (query, key, value)]
        if any(each is None for each in found):
            return None
        (q, size), (k, _), (v, _) = [each for each in found if each is not None]
        if not (q.x == k.x == v.x and q.weight.shape == k.weight.shape == v.weight.shape):
            return None
        if size % BLOCK or len(q.weight) % size or output.x.source in graph.outputs:
            return None
        grids = (query.grid, key.grid, probabilities.grid, value.grid)
        return Attention(q, k, v, grids, scale, mask, size, output.x.source)

    def _scores(self, masked: onnx.NodeProto) -> tuple[tuple[onnx.NodeProto, float] | None, str]:
        """The product of query and key with its scale, and the mask that is added to it."""
        for product, mask in (masked.input, reversed(masked.input)):
            scaled = self.graph.producer(product, "Mul") or self.graph.producer(product, "Div")
            if scaled is not None and (scale := self._constant_factor(scaled)) is not None:
                name = next(name for name in scaled.input if self.graph.constant(name) is None)
                if node := self.graph.producer(name, "MatMul"):
                    return (node, scale), mask
        return None, ""

    def _transposed_key(self, name: str) -> Quantized | None:
        restored = self.graph.producer(name, "DequantizeLinear")
        codes = self._transposed(restored.input[0], _TO_KEYS) if restored else None
        rounded = self.graph.producer(codes, "QuantizeLinear") if codes else None
        return self.graph.rounded(rounded) if rounded else None

    def _heads(self, name: str) -> tuple[Linear, int] | None:
        """The linear layer whose result is cut into heads, and the size of a head."""
        turned = self._transposed(name, _TO_HEADS)
        cut = self.graph.producer(turned, "Reshape") if turned else None
        linear = self.linears.get(cut.input[0]) if cut else None
        if cut is None or linear is None or len(self.graph.consumers[linear.output]) != 1:
            return None
        shape = self.graph.constant(cut.input[1])
        joined = self.graph.producer(cut.input[1], "Concat")
        if shape is None and joined is not None:
            shape = self.graph.constant(joined.input[-1])
        return (linear, int(shape[-1])) if shape is not None and shape[-1] > 0 else None

    def _transposed(self, name: str, order: list[int]) -> str | None:
        node = self.graph.producer(name, "Transpose")
        return node.input[0] if node is not None and list(attribute(node, "perm", ())) == order else None
