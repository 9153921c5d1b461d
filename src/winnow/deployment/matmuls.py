"""Which matrix products ONNX Runtime computes in integers and which in floating point, read off its own graph."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from torch import nn

from winnow.models.fake_quant import QuantizedLinear, QuantizedMatmuls

# What stands for a product in a graph that ONNX Runtime has optimised for a CPU, and how many products it stands for.
_INTEGER = {"QLinearMatMul": 1, "MatMulInteger": 1, "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1, "QGemm": 1}
_FLOAT = {"MatMul": 1, "FusedMatMul": 1, "Gemm": 1, "FusedGemm": 1, "MultiHeadAttention": 2, "Attention": 5}

_ROWS = 8  # of the fixed shape


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


def products_report(model: nn.Module, graph: Path, *, longest: int) -> dict[str, Any]:
    """Products of a graph as it was exported and in a fixed shape, in which other nodes are fused.

    Args:
        model: that the graph was written from.
        graph: the ONNX file.
        longest: tokens of the fixed shape.

    Returns:
        ``expected_int8`` of the model, and for both ``int8``, ``float`` and ``in_float``, the modules whose products
        should be in int8 and are not.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, QuantizedLinear)]
    products = [name for name, module in model.named_modules() if isinstance(module, QuantizedMatmuls)]
    attention = [name.rpartition(".")[0] for name in products]
    report: dict[str, Any] = {"expected_int8": len(linear) + 2 * len(attention)}
    shapes: dict[str, dict[str, int]] = {"as_exported": {}, "fixed_shape": {"batch": _ROWS, "sequence": longest}}
    for name, shape in shapes.items():
        found = executed_products(graph, shape)
        in_float = [module for module in found.modules if module in {*linear, *attention}]
        report[name] = {"shape": shape, "int8": found.integer, "float": found.floating, "in_float": in_float}
    return report


def executed_products(graph: Path, shape: Mapping[str, int] | None = None) -> Products:
    """Count the products of a graph as ONNX Runtime executes it on this machine.

    Args:
        graph: that `winnow.deployment.graph.write_graph` wrote.
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
