"""Which matmuls ONNX Runtime computes in int8 and which in floating point, according to its optimised graph."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor
from transformers import PreTrainedModel

from winnow.models.fake_quant import QuantizedLinear, QuantizedMatmuls

# Operators that replace matmuls in a graph optimised for a CPU -> the number of matmuls that each computes.
_INT8 = {"QLinearMatMul": 1, "MatMulInteger": 1, "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1, "QGemm": 1}
_FLOAT = {"MatMul": 1, "FusedMatMul": 1, "Gemm": 1, "FusedGemm": 1, "MultiHeadAttention": 2, "Attention": 5}

_ROWS = 8  # of the fixed shape


@dataclass(frozen=True)
class MatmulCounts:
    """Matmuls of a graph by their precision.

    Args:
        int8: number of those in int8.
        floating: number of those in floating point.
        modules: of those in floating point, in the order of the graph.
    """

    int8: int
    floating: int
    modules: list[str]


def matmul_report(model: PreTrainedModel, graph: Path, *, longest: int) -> dict[str, Any]:
    """Matmuls of a graph as exported, and in a fixed shape, for which ONNX Runtime fuses other nodes.

    Args:
        model: from which the graph was written.
        graph: the ONNX file.
        longest: tokens of the fixed shape.

    Returns:
        ``expected_int8`` of the model; and for both shapes ``int8``, ``float`` and ``in_float``, the modules whose
        matmuls should be in int8 and are not.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, QuantizedLinear)]
    quantized = [name for name, module in model.named_modules() if isinstance(module, QuantizedMatmuls)]
    attention = [name.rpartition(".")[0] for name in quantized]
    report: dict[str, Any] = {"expected_int8": quantized_matmuls(model)}
    shapes: dict[str, dict[str, int]] = {"as_exported": {}, "fixed_shape": {"batch": _ROWS, "sequence": longest}}
    for name, shape in shapes.items():
        found = executed_matmuls(graph, shape)
        in_float = [module for module in found.modules if module in {*linear, *attention}]
        report[name] = {"shape": shape, "int8": found.int8, "float": found.floating, "in_float": in_float}
    return report


@torch.inference_mode()
def quantized_matmuls(model: PreTrainedModel) -> int:
    """Matmuls of the quantised modules in one pass: a shared linear layer has one for each call.

    Those of inputs that no text changes are not counted, such as the relative positions of DeBERTa-v3.
    """
    calls: list[tuple[int, Tensor]] = []

    def note(matmuls: int) -> Callable[..., None]:
        return lambda module, inputs, output: calls.append((matmuls, inputs[0]))

    hooks = [each.register_forward_hook(note(1)) for each in model.modules() if isinstance(each, QuantizedLinear)]
    attention = [each for each in model.modules() if isinstance(each, QuantizedMatmuls)]
    hooks += [each.query.register_forward_hook(note(2)) for each in attention]
    ids = model.dummy_inputs["input_ids"]
    model(input_ids=ids)
    model(input_ids=ids.flip(1))
    for hook in hooks:
        hook.remove()
    pairs = zip(calls[: len(calls) // 2], calls[len(calls) // 2 :], strict=True)
    return sum(matmuls for (matmuls, one), (_, other) in pairs if not torch.equal(one, other))


def executed_matmuls(graph: Path, shape: Mapping[str, int] | None = None) -> MatmulCounts:
    """Count the matmuls of a graph that depend on its inputs, as ONNX Runtime executes them on this machine.

    Args:
        graph: from `winnow.deployment.graph.write_graph`.
        shape: sizes of the dimensions ``batch`` and ``sequence``, if they are to be fixed.
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
        nodes = _dependent(onnx.load(optimised, load_external_data=False).graph)
    return MatmulCounts(
        int8=sum(_INT8.get(node.op_type, 0) for node in nodes),
        floating=sum(_FLOAT.get(node.op_type, 0) for node in nodes),
        modules=[_module(node.name) for node in nodes if node.op_type in _FLOAT],
    )


def _dependent(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that depend on the values of an input; the others compute constants, or what the shape alone gives."""
    reached = {value.name for value in graph.input}
    found = []
    for node in graph.node:
        if node.op_type != "Shape" and not reached.isdisjoint(node.input):
            reached.update(node.output)
            found.append(node)
    return found


def _module(node: str) -> str:
    """The module of a node; a fused one is named ``fused bert.pooler.dense/MatMul/MatMulAddFusion``."""
    return node.split(" ")[-1].split("/")[0]
