"""Compare the weights in an exported graph with those of the model: equal numbers, and every zero preserved."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from transformers import PreTrainedModel

from winnow.functional.nibbles import unpack
from winnow.models.fake_quant import QuantizedEmbedding, QuantizedLinear
from winnow.models.quantized_model import quantizers, smoothing_factors
from winnow.models.structures import BiasOnly


def compare_weights(model: PreTrainedModel, graph: Path) -> dict[str, Any]:
    """Compare weights, biases and scales with the tensors of the same names that the graph uses.

    Args:
        model: from which the graph was written.
        graph: the ONNX file.

    Returns:
        ``zeros``: number of zero weights; ``zeros_lost``: how many of them are not zero in the graph; ``differ``: names
        of tensors that differ; ``in_float``: names of those in floating point that should be integers.
    """
    stored = _stored(graph)
    report: dict[str, Any] = {"zeros": 0, "zeros_lost": 0, "differ": [], "in_float": []}
    folded = set()
    for name, module, parameter, expected in _expected(model):
        found = stored.get(name, _equal(expected, stored))
        if found is None and isinstance(module, nn.Embedding):
            folded.add(name)  # a graph of fixed length contains the looked-up position embeddings, not their matrix
            continue
        if expected.dtype != torch.float32 and (found is None or found.is_floating_point()):
            report["in_float"].append(name)
        elif found is None or not torch.equal(found, expected.to(found.dtype)):
            report["differ"].append(name)
        if parameter.ndim > 1:
            zeros = parameter == 0
            report["zeros"] += int(zeros.sum())
            report["zeros_lost"] += int((found[zeros] != 0).sum()) if found is not None else int(zeros.sum())
    for name, scale in _scales(model):
        if not _is_stored(scale, stored, name) and name.replace("weight_scale.scale", "weight") not in folded:
            report["differ"].append(name)
    return report


def _is_stored(value: Tensor, stored: Mapping[str, Tensor], name: str) -> bool:
    found = stored.get(name, _equal(value, stored))
    return found is not None and torch.equal(found, value)


def _expected(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module, Tensor, Tensor]]:
    """Name, module, parameter, and the parameter as the graph should store it: unchanged, or as its int8 codes."""
    for name, module in model.named_modules():
        if isinstance(module, BiasOnly):
            yield f"{name}.bias", module, module.bias.detach(), module.bias.detach()
        if not isinstance(module, nn.Linear | nn.Embedding):
            continue
        weight = module.weight.detach()
        stored = weight
        if isinstance(module, QuantizedLinear | QuantizedEmbedding):
            stored = module.weight_quantizer.codes(weight).to(torch.int8)
        yield f"{name}.weight", module, weight, stored
        if isinstance(module, nn.Linear) and module.bias is not None:
            bias = module.bias.detach()
            stored = module.bias_codes() if isinstance(module, QuantizedLinear) else bias
            yield f"{name}.bias", module, bias, stored


def _scales(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Scales and factors of inputs, with the names that `winnow.deployment.integer_modules` gives them."""
    for name, quantizer in quantizers(model).items():
        stored = name.replace("input_quantizer", "input").replace("weight_quantizer", "weight_scale")
        yield f"{stored}.scale", quantizer.scale if quantizer.scale.numel() > 1 else quantizer.scale.reshape(())
    for name, factors in smoothing_factors(model).items():
        yield f"{name}.smoothing", factors


def _equal(expected: Tensor, stored: Mapping[str, Tensor]) -> Tensor | None:
    """A graph stores equal parameters, such as biases of zeros, once, under the name of the first one."""
    alike = (v for v in stored.values() if v.is_floating_point() == expected.is_floating_point())
    return next((v for v in alike if torch.equal(v, expected.to(v.dtype))), None)


def _stored(graph: Path) -> dict[str, Tensor]:
    """The tensors that nodes use by name, in the form that they have in the model.

    Weights of matmuls, ``(in, out)`` in the graph, become ``(out, in)``. Packed embeddings become int8; their scales,
    one for each block of a row in the graph, become ``(rows,)``.
    """
    content = onnx.load(graph).graph
    matmul_inputs = {name for node in content.node if node.op_type == "MatMul" for name in node.input}
    matmul_inputs |= {
        node.input[0] for node in content.node if node.output[0] in matmul_inputs
    }  # behind a DequantizeLinear
    used = {name for node in content.node for name in node.input}
    values = {
        entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy())
        for entry in content.initializer
        if entry.name in used
    }
    for node in content.node:
        if node.op_type == "GatherBlockQuantized":
            weight, _, scales = node.input
            values[weight], values[scales] = unpack(values[weight]), _of_rows(values[scales])
    return {name: value.t() if name in matmul_inputs and value.ndim == 2 else value for name, value in values.items()}


def _of_rows(scales: Tensor) -> Tensor:
    """The scale of each row, unless blocks of a row differ; of one row a scalar, as in the model."""
    first = scales[:, 0]
    return first.squeeze() if torch.equal(scales, first.unsqueeze(1).expand_as(scales)) else scales
