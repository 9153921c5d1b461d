"""The weights in an exported graph beside those of the model: the same numbers, and every zero a zero."""

from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from transformers import PreTrainedModel


def compare_weights(model: PreTrainedModel, graph: Path) -> dict[str, Any]:
    """Compare the matrices of linear layers and embeddings with the initialisers that are called after them.

    Args:
        model: that the graph was written from.
        graph: the ONNX file.

    Returns:
        ``zeros`` of the model and how many of them are none in the graph, ``zeros_lost``; the modules whose weights
        ``differ``.
    """
    stored = {entry.name: entry for entry in onnx.load(graph).graph.initializer}
    zeros = lost = 0
    differ = []
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Linear, nn.Embedding)):
            continue
        weight = module.weight.detach()
        zeros += weight.numel() - int(torch.count_nonzero(weight))
        if f"{name}.weight" not in stored:
            differ.append(name)
            continue
        found = torch.from_numpy(numpy_helper.to_array(stored[f"{name}.weight"]).copy())
        found = found.t() if isinstance(module, nn.Linear) else found
        expected = _as_stored(module, found.dtype)
        if not torch.equal(found, expected):
            differ.append(name)
        lost += int(((weight == 0) & (found != 0)).sum()) if found.shape == weight.shape else 0
    return {"zeros": zeros, "zeros_lost": lost, "differ": differ}


def _as_stored(module: Any, dtype: torch.dtype) -> Tensor:
    """A weight as the graph should have it: int8 codes of its grid, or itself."""
    if dtype == torch.int8:
        return module.weight_quantizer.codes(module.weight.detach()).to(dtype)
    return module.weight.detach().to(dtype)
