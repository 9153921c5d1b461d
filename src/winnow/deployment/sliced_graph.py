"""A graph with fewer heads and neurons, made by cutting the constants of the graph of a whole model.

It has the nodes and shapes of the graph that would be exported without these heads and neurons, which takes seconds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir
from onnx_ir.convenience import replace_all_uses_with
from onnx_ir.passes import common as passes

from winnow.models.structures import Block


def sliced(model: onnx_ir.Model, blocks: Sequence[Block], sizes: Mapping[str, int]) -> onnx_ir.Model:
    """A copy of a graph in which each block keeps its first structures.

    Args:
        model: as `winnow.deployment.graph.write_graph` writes it. No two weights or biases may be equal, because it
            stores equal ones once.
        blocks: of the model that was exported.
        sizes: number of structures by the kind of block; an empty block adds a bias to the residual and nothing else.
    """
    copied = model.clone()
    nodes = {node.name: node for node in copied.graph}
    for block in blocks:
        size = sizes[block.kind]
        if size == 0:
            _empty(copied.graph, nodes[f"{block.output}/Add"])
        elif size < block.count:
            for name in block.inputs:
                _cut(copied.graph, nodes[f"{name}/MatMul"], axis=1, size=size * block.width)
                _cut(copied.graph, nodes[f"{name}/Add"], axis=0, size=size * block.width)
            _cut(copied.graph, nodes[f"{block.output}/MatMul"], axis=0, size=size * block.width)
    for node in copied.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None  # that of the whole model
    passes.RemoveUnusedNodesPass()(copied)
    return copied


def _empty(graph: onnx_ir.Graph, added: onnx_ir.Node) -> None:
    """Let the readers of a linear layer's result read a bias in floating point."""
    (bias,) = [value for value in added.inputs if value is not None and not _is_product(value)]
    restored = bias.producer()  # DequantizeLinear of an integer bias
    values = _values(bias if restored is None else restored.inputs[0])
    replace_all_uses_with(added.outputs[0], _constant(graph, f"{added.name}:bias", np.zeros(values.shape, np.float32)))


def _is_product(value: onnx_ir.Value) -> bool:
    producer = _producer(value)
    return producer is not None and producer.op_type == "MatMul"


def _cut(graph: onnx_ir.Graph, node: onnx_ir.Node, axis: int, size: int) -> None:
    """Cut the constant that a node adds or multiplies by, with the scales of its rows if it has integers."""
    index, restored = next((i, _producer(value)) for i, value in enumerate(node.inputs) if _is_constant(value))
    if restored is None:
        _cut_input(graph, node, index, axis, size)
        return
    _cut_input(graph, restored, 0, axis, size)
    if restored.attributes.get_int("axis", 1) == axis:
        for i in (1, 2):
            _cut_input(graph, restored, i, 0, size)


def _is_constant(value: onnx_ir.Value | None) -> bool:
    restored = _producer(value)
    if restored is None:
        return value is not None and value.const_value is not None
    return restored.op_type == "DequantizeLinear" and _is_constant(restored.inputs[0])


def _producer(value: onnx_ir.Value | None) -> onnx_ir.Node | None:
    return None if value is None else value.producer()


def _values(value: onnx_ir.Value | None) -> np.ndarray:
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy()


def _cut_input(graph: onnx_ir.Graph, node: onnx_ir.Node, index: int, axis: int, size: int) -> None:
    """Give a node its own, smaller copy of a constant; a single scale stays."""
    values = _values(node.inputs[index])
    if values.ndim > axis:
        part = np.ascontiguousarray(values[(slice(None),) * axis + (slice(size),)])
        node.replace_input_with(index, _constant(graph, f"{node.name}:input:{index}", part))


def _constant(graph: onnx_ir.Graph, name: str, values: np.ndarray) -> onnx_ir.Value:
    tensor = onnx_ir.tensor(values, name=name)
    value = onnx_ir.Value(
        name=name, shape=onnx_ir.Shape(values.shape), type=onnx_ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value
