"""Which matrix products ONNX Runtime computes in integers and which in floating point, read off its own graph."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime

# What stands for a product in a graph that ONNX Runtime has optimised for a CPU, and how many products it stands for.
_INTEGER = {"QLinearMatMul": 1, "MatMulInteger": 1, "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1, "QGemm": 1}
_FLOAT = {"MatMul": 1, "FusedMatMul": 1, "Gemm": 1, "FusedGemm": 1, "MultiHeadAttention": 2, "Attention": 5}


@dataclass(frozen=True)
class Products:
    """Matrix products of a graph by how they are computed.

    Args:
        integer: in int8.
        floating: in floating point.
        modules: those of the latter, in the order of the graph.
    """

    integer: int
    floating: int
    modules: list[str]


def executed_products(graph: Path, shape: Mapping[str, int] | None = None) -> Products:
    """Count the products of a graph as ONNX Runtime executes it on this machine.

    Args:
        graph: that `src.deployment.graph.write_graph` wrote.
        shape: fixes named dimensions, ``batch`` and ``sequence``: ONNX Runtime fuses other nodes then.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for dimension, size in (shape or {}).items():
        options.add_free_dimension_override_by_name(dimension, size)
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(optimised)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(optimised, load_external_data=False).graph.node
    return Products(
        integer=sum(_INTEGER.get(node.op_type, 0) for node in nodes),
        floating=sum(_FLOAT.get(node.op_type, 0) for node in nodes),
        modules=[_module(node.name) for node in nodes if node.op_type in _FLOAT],
    )


def _module(node: str) -> str:
    """A fused node is called after those that it replaces: ``fused bert.pooler.dense/MatMul/MatMulAddFusion``."""
    return node.split(" ")[-1].split("/")[0]
