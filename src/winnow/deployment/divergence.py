"""Find the first module of a model whose results an exported graph does not reproduce."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from winnow.deployment.parity import noise

_RATIO = 3.0  # to the noise control at the same module
_ROUNDING = 1e-4  # of a module's mean output: a few numbers may round to another integer than in the control


def first_divergence(
    model: PreTrainedModel,
    graph: Path,
    batch: Mapping[str, Tensor],
    rounding: float = _ROUNDING,
    operators: Path | None = None,
) -> dict[str, Any] | None:
    """Compare the outputs of the modules of a model with the results of the graph nodes named after them.

    Args:
        model: on the CPU, in eval mode; best in float64, as the integer sums of the graph are exact.
        graph: that `winnow.deployment.graph.write_graph` wrote from it.
        batch: inputs of the graph.
        rounding: difference to ignore, as a fraction of a module's mean absolute output.
        operators: library of further operators that the graph uses.

    Returns:
        ``module``, its mean absolute ``difference`` and that of the noise ``control``; None if no module diverges.
    """
    results = _last_results(graph, {name for name, _ in model.named_modules() if name})
    found = _run_with(graph, results, batch, operators)
    with torch.inference_mode():
        with _recorded(model) as expected:
            model(**batch)
        with _recorded(model) as disturbed, noise(model):
            model(**batch)
    tokens = batch["attention_mask"].bool()
    for name, values in expected.items():
        if name not in found or found[name].shape != values.shape:
            continue
        difference = _mean(found[name] - values, tokens)
        control = _mean(disturbed[name] - values, tokens)
        if not difference <= _RATIO * control + rounding * _mean(values, tokens):
            return {"module": name, "difference": difference, "control": control}
    return None


def _mean(values: Tensor, tokens: Tensor) -> float:
    """Mean absolute value, without padding where there is a value for each token."""
    per_token = values.ndim > 2 and values.shape[:2] == tokens.shape
    return float((values[tokens] if per_token else values).double().abs().mean())


@contextmanager
def _recorded(model: PreTrainedModel) -> Iterator[dict[str, Tensor]]:
    """Record the output of every module, in the order in which the modules finish."""
    outputs: dict[str, Tensor] = {}

    def record(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple) and output else output
            if isinstance(value, Tensor):
                outputs[name] = value.float()

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in model.named_modules() if name]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _last_results(graph: Path, modules: set[str]) -> dict[str, str]:
    """Module -> the result of its last node."""
    results = {}
    for node in onnx.load(graph, load_external_data=False).graph.node:
        parts = node.name.split("/")[0].split(".")
        for end in range(1, len(parts) + 1):
            if (module := ".".join(parts[:end])) in modules:
                results[module] = node.output[0]
    return results


def _run_with(
    graph: Path, results: Mapping[str, str], batch: Mapping[str, Tensor], operators: Path | None
) -> dict[str, Tensor]:
    """Module -> the value of its result, from a copy of the graph with these results as outputs."""
    model = onnx.load(graph, load_external_data=False)
    outputs = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted({*results.values()} - outputs))
    extended = graph.with_name("extended.onnx")  # in the same folder, where its weight file is found
    try:
        onnx.save(model, extended)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if operators is not None:
            options.register_custom_ops_library(str(operators))
        session = onnxruntime.InferenceSession(extended, options, providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_outputs()]
        values = session.run(names, {node.name: batch[node.name].numpy() for node in session.get_inputs()})
    finally:
        extended.unlink(missing_ok=True)
    by_name = dict(zip(names, values, strict=True))
    return {module: torch.from_numpy(by_name[result].astype(np.float32)) for module, result in results.items()}
