"""The weights in an exported graph beside those of the model: the same numbers, and every zero a zero."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from transformers import PreTrainedModel

from winnow.models.fake_quant import QuantizedEmbedding, QuantizedLinear
from winnow.models.quantized_model import quantizers


def compare_weights(model: PreTrainedModel, graph: Path) -> dict[str, Any]:
    """Compare weights, biases and scales with what the nodes of a graph read by the same names.

    Args:
        model: that the graph was written from.
        graph: the ONNX file.

    Returns:
        ``zeros`` of the weights and how many of them are none in the graph, ``zeros_lost``; the names of those that
        ``differ``, and of those ``in_float`` that should be integers.
    """
    stored = _stored(graph)
    report: dict[str, Any] = {"zeros": 0, "zeros_lost": 0, "differ": [], "in_float": []}
    for name, module, parameter, expected in _expected(model):
        found = stored.get(name, _equal(expected, stored))
        if found is None and isinstance(module, nn.Embedding):
            continue  # in a graph of fixed length the positions have been looked up, and their table has gone
        if expected.dtype != torch.float32 and (found is None or found.is_floating_point()):
            report["in_float"].append(name)
        elif found is None or not torch.equal(found, expected.to(found.dtype)):
            report["differ"].append(name)
        if parameter.ndim > 1:
            zeros = parameter == 0
            report["zeros"] += int(zeros.sum())
            report["zeros_lost"] += int((found[zeros] != 0).sum()) if found is not None else int(zeros.sum())
    report["differ"] += [name for name, scale in _grids(model) if not _is_stored(scale, stored, name)]
    return report


def _is_stored(value: Tensor, stored: Mapping[str, Tensor], name: str) -> bool:
    found = stored.get(name, _equal(value, stored))
    return found is not None and torch.equal(found, value)


def _expected(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module, Tensor, Tensor]]:
    """Name, module, parameter, and as the graph should store it: as itself, or as the integers of its grid."""
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Linear, nn.Embedding)):
            continue
        weight = module.weight.detach()
        quantized = isinstance(module, (QuantizedLinear, QuantizedEmbedding))
        stored = module.weight_quantizer.codes(weight).to(torch.int8) if quantized else weight
        yield f"{name}.weight", module, weight, stored
        if isinstance(module, nn.Linear) and module.bias is not None:
            bias = module.bias.detach()
            stored = module.bias_codes() if isinstance(module, QuantizedLinear) else bias
            yield f"{name}.bias", module, bias, stored


def _grids(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Scales by the names that `winnow.deployment.integer_modules` gives them."""
    for name, quantizer in quantizers(model).items():
        stored = name.replace("input_quantizer", "input").replace("weight_quantizer", "weight_scale")
        yield f"{stored}.scale", quantizer.scale if quantizer.scale.numel() > 1 else quantizer.scale.reshape(())


def _equal(expected: Tensor, stored: Mapping[str, Tensor]) -> Tensor | None:
    """Of equal parameters, such as biases that are all zero, a graph has one, under the name of the first."""
    alike = (v for v in stored.values() if v.is_floating_point() == expected.is_floating_point())
    return next((v for v in alike if torch.equal(v, expected.to(v.dtype))), None)


def _stored(graph: Path) -> dict[str, Tensor]:
    """What the nodes read; the weight of a product, ``(in, out)`` there, as ``(out, in)``."""
    content = onnx.load(graph).graph
    products = {name for node in content.node if node.op_type == "MatMul" for name in node.input}
    products |= {node.input[0] for node in content.node if node.output[0] in products}  # behind a DequantizeLinear
    read = {name for node in content.node for name in node.input}
    values = {
        entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy())
        for entry in content.initializer
        if entry.name in read
    }
    return {name: value.t() if name in products and value.ndim == 2 else value for name, value in values.items()}
