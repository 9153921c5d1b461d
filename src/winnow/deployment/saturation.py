"""Overflow of int8 matmuls: x86 processors without VNNI add two 8-bit products in 16 bits.

The instruction vpmaddubsw multiplies uint8 by int8 and adds neighbouring products, saturating at 32,767; with
activations up to 255 and weights up to 127 two products may reach 64,770. A graph whose activations end at 127
(reduce_range) cannot overflow.
"""

from pathlib import Path

import numpy as np

_INNER = 64  # products in each sum of the probe
PROBE_INPUTS = {"x": np.full((8, _INNER), 255.0, dtype=np.float32)}
PROBE_SUM = 255.0 * 127.0 * _INNER


def write_probe(path: Path) -> None:
    """Write a graph of one int8 matmul, (8, 64) by (64, 16), whose outputs are all `PROBE_SUM` unless it saturates."""
    import onnx  # heavy: commands check their arguments first
    from onnx import TensorProto, helper, numpy_helper

    weights: dict[str, np.ndarray] = {
        "one": np.array(1.0, dtype=np.float32),
        "zero": np.array(0, dtype=np.uint8),
        "weight_zero": np.array(0, dtype=np.int8),
        "weight": np.full((_INNER, 16), 127, dtype=np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "one", "zero"], ["values"]),
        helper.make_node("DequantizeLinear", ["weight", "one", "weight_zero"], ["weight_values"]),
        helper.make_node("MatMul", ["values", "weight_values"], ["sums"]),
    ]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, _INNER])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, [8, 16])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def may_overflow(model: Path) -> bool:
    """True if an activation of the graph uses the full range of uint8, because nothing clips it before rounding."""
    import onnx

    nodes = onnx.load(model, load_external_data=False).graph.node
    clipped = {output for node in nodes if node.op_type == "Clip" for output in node.output}
    return any(node.op_type == "QuantizeLinear" and node.input[0] not in clipped for node in nodes)
