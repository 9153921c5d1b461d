"""Read a graph with QuantizeLinear and DequantizeLinear nodes: its int8 linear layers and their surroundings."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

BLOCK = 4  # neighbouring inputs that share a block of weights


@dataclass(frozen=True)
class Grid:
    """A quantisation grid of uint8 codes: ``min(high, round(x / scale) + zero_point)``, at least 0."""

    scale: float
    zero_point: int
    high: int = 255


@dataclass(frozen=True)
class Quantized:
    """A tensor that is quantised and dequantised: the name of the float tensor, and its grid."""

    source: str
    grid: Grid


@dataclass(frozen=True)
class Linear:
    """A linear layer with int8 weights.

    Args:
        name: of its module.
        x: its input.
        weight: (outputs, inputs), int8.
        scales: of the weight, (outputs,).
        bias: (outputs,), int32 in units of the scale of the input times that of the row.
        output: name of its result.
    """

    name: str
    x: Quantized
    weight: np.ndarray
    scales: np.ndarray
    bias: np.ndarray
    output: str

    @cached_property
    def empty_blocks(self) -> float:
        """Fraction of the blocks that are zero."""
        return float((~self.weight.reshape(-1, BLOCK).any(axis=1)).mean())


class QuantizedGraph:
    """The nodes of a graph by their inputs and outputs."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.constants = {value.name: value for value in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.consumers[name].append(node)
        self.outputs = {value.name for value in graph.output}

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a constant, or None for any other tensor."""
        found = self.constants.get(name)
        return None if found is None else numpy_helper.to_array(found)

    def producer(self, name: str, kind: str) -> onnx.NodeProto | None:
        """The node that computes a tensor, if it is of a kind."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type == kind else None

    def only_consumer(self, name: str, kind: str) -> onnx.NodeProto | None:
        """The single node that reads a tensor, if there is no other and it is of a kind."""
        nodes = self.consumers[name]
        alone = len(nodes) == 1 and name not in self.outputs
        return nodes[0] if alone and nodes[0].op_type == kind else None

    def quantized(self, name: str) -> Quantized | None:
        """What a DequantizeLinear node gives back, if it follows a QuantizeLinear node."""
        restored = self.producer(name, "DequantizeLinear")
        rounded = self.producer(restored.input[0], "QuantizeLinear") if restored else None
        return self.rounded(rounded) if rounded else None

    def rounded(self, node: onnx.NodeProto) -> Quantized | None:
        """The input and the grid of a QuantizeLinear node, and of a Clip before it that leaves out high codes."""
        scale, zero_point = (self.constant(name) for name in node.input[1:3])
        if scale is None or zero_point is None or scale.size != 1 or zero_point.dtype != np.uint8:
            return None
        source, high = node.input[0], 255
        clip = self.producer(source, "Clip")
        if clip is not None and (top := self.constant(clip.input[2])) is not None:
            source, high = clip.input[0], min(255, round(float(top) / float(scale)) + int(zero_point))
        return Quantized(source, Grid(float(scale), int(zero_point), high))

    def linears(self) -> Iterator[Linear]:
        """Each linear layer with int8 weights, an int32 bias or none, and a quantised input."""
        for node in self.graph.node:
            if node.op_type == "MatMul" and (found := self._linear(node)):
                yield found

    def _linear(self, node: onnx.NodeProto) -> Linear | None:
        x, stored = self.quantized(node.input[0]), self.producer(node.input[1], "DequantizeLinear")
        weight = self.constant(stored.input[0]) if stored else None
        if x is None or stored is None or weight is None or weight.dtype != np.int8 or weight.ndim != 2:
            return None
        scales = self.constant(stored.input[1])
        inputs, outputs = weight.shape
        if scales is None or scales.size not in (1, outputs) or inputs % BLOCK:
            return None
        output, bias = self._bias(node, outputs)
        scales = np.broadcast_to(scales.astype(np.float32).reshape(-1), outputs)
        return Linear(node.name.split("/")[0], x, np.ascontiguousarray(weight.T), scales, bias, output)

    def _bias(self, matmul: onnx.NodeProto, size: int) -> tuple[str, np.ndarray]:
        """The result of a matmul with its bias, and the bias; without one, the result of the matmul and zeros."""
        added = self.only_consumer(matmul.output[0], "Add")
        for name in added.input if added else ():
            stored = self.producer(name, "DequantizeLinear")
            codes = self.constant(stored.input[0]) if stored else None
            if added and codes is not None and codes.dtype == np.int32 and codes.size == size:
                return added.output[0], codes
        return matmul.output[0], np.zeros(size, np.int32)


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of an attribute of a node."""
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)
