"""Export a model to an ONNX graph whose nodes are named after the modules from which they come."""

import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import torch
from onnx_ir.passes import common as passes
from torch import Tensor, nn
from transformers import PreTrainedModel

from winnow.deployment.graph_modules import traceable_copy
from winnow.signals import deferred

_SCOPES = "pkg.torch.onnx.name_scopes"  # in the metadata of a node: the modules around it, outermost first
_EXAMPLE = (2, 9)  # rows and tokens of the example with which a graph of any shape is traced


def write_graph(
    model: PreTrainedModel,
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    opset: int,
    half: bool = False,
    batch_size: int | None = None,
    sequence_length: int | None = None,
    external_data_above: int = 2_000_000_000,
) -> None:
    """Write a model to an ONNX file.

    Args:
        model: with a head.
        path: of the file; large weights go into a second file, with ``.data`` appended to the name.
        inputs: names of int64 tensors, ``(batch, tokens)``.
        outputs: names of outputs of the model; float32 in the graph.
        opset: of ONNX.
        half: weights and computation in float16.
        batch_size: of every input; None for any.
        sequence_length: tokens of every input; None for any.
        external_data_above: bytes of weights above which they go into the second file; an ONNX file holds 2 GB.
    """
    shape = (batch_size or _EXAMPLE[0], sequence_length or _EXAMPLE[1])
    example = tuple(torch.ones(shape, dtype=torch.long) for _ in inputs)
    dynamic = {
        axis: torch.export.Dim(name)
        for axis, (name, fixed) in enumerate({"batch": batch_size, "sequence": sequence_length}.items())
        if fixed is None
    }
    traced = traceable_copy(model)
    if half:
        traced.half()  # type: ignore[no-untyped-call]  # transformers wraps it without types
    # within torch.onnx the error of a signal would become another one, with a trace
    with warnings.catch_warnings(), torch.no_grad(), deferred():
        warnings.simplefilter("ignore")
        for library in ("torch.onnx", "onnxscript"):
            logging.getLogger(library).setLevel(logging.ERROR)
        program: Any = torch.onnx.export(
            _Outputs(traced, inputs, outputs),
            example,
            dynamo=True,
            opset_version=opset,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={"values": tuple(dynamic for _ in inputs)} if dynamic else None,
            verbose=False,
        )
    graph = program.model
    _merge_equal(graph)
    _name_after_modules(graph, {name for name, _ in model.named_modules()})
    passes.ClearMetadataAndDocStringPass()(graph)  # its stack traces contain local paths
    weights = sum(value.const_value.nbytes for value in graph.graph.initializers.values())
    onnx_ir.save(graph, path, external_data=f"{path.name}.data" if weights > external_data_above else None)
    onnx.checker.check_model(path, full_check=True)


class _Outputs(nn.Module):
    """Wraps a model so that its inputs and outputs are tensors in a fixed order."""

    def __init__(self, model: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model.eval(), list(inputs), list(outputs)

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(**dict(zip(self.inputs, values, strict=True)))
        return tuple(getattr(outputs, name).float() for name in self.outputs)


def _merge_equal(graph: onnx_ir.Model) -> None:
    """Merge equal constants and equal nodes, so that query, key and value share their quantised input."""
    passes.DeduplicateInitializersPass(size_limit=1)(graph)
    smoothing: dict[bytes, onnx_ir.Value] = {}
    for name, value in graph.graph.initializers.items():
        if name.endswith(".smoothing") and value.const_value is not None:
            first = smoothing.setdefault(value.const_value.tobytes(), value)
            if first is not value:
                onnx_ir.convenience.replace_all_uses_with(value, first)
    passes.CommonSubexpressionEliminationPass()(graph)
    passes.RemoveUnusedNodesPass()(graph)


def _name_after_modules(graph: onnx_ir.Model, modules: set[str]) -> None:
    """Name nodes after modules, ``bert.pooler.dense/MatMul``, and their results ``bert.pooler.dense/MatMul:0``."""
    kept = {value.name for value in graph.graph.outputs}
    taken: dict[str, int] = {}
    for value in (*graph.graph.inputs, *graph.graph.outputs):
        value.metadata_props.clear()
    for node in graph.graph:
        name = f"{_module(node, modules)}/{node.op_type}"
        taken[name] = taken.get(name, 0) + 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        for i, value in enumerate(node.outputs):
            if value.name not in kept:
                value.name = f"{node.name}:{i}"
    for name, value in list(graph.graph.initializers.items()):
        value.name = re.sub(r"^model\.", "", name)


def _module(node: onnx_ir.Node, modules: set[str]) -> str:
    """The innermost module of the model around a node, or ''."""
    scopes = re.findall(r"'model\.([^']+)'", node.metadata_props.get(_SCOPES, ""))
    return next((scope for scope in reversed(scopes) if scope in modules), "")
