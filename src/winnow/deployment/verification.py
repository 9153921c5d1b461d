"""Verify on real inputs of the task that an exported graph computes what its model computes."""

import copy
import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from winnow.deployment.deployed_model import DeployedModel
from winnow.deployment.divergence import first_divergence
from winnow.deployment.engines import open_engine
from winnow.deployment.matmuls import matmul_report
from winnow.deployment.parity import OutputComparison, noise
from winnow.deployment.samples import Samples, fill_batch
from winnow.deployment.weights import compare_weights
from winnow.models.quantized_model import quantizers

_RATIO = 1.5  # of the mean logit difference to that of the noise control
_ONE_IN = 872  # examples, of which one may get another decision
_ROWS = 8  # of the batch in which a divergence is searched
_DIGITS = 1e-6  # precision of metrics
_NAMED = 3  # modules listed in a message
# Differences that are always allowed, as fractions of the typical logit: the last digit of float32; and in a quantised
# model a few numbers that round to another integer, since the control of a small model may be 0.
_ROUNDING, _STEP = 3e-7, 1e-3


@torch.inference_mode()
def verify(model: PreTrainedModel, graph: Path, samples: Samples, *, half: bool = False) -> dict[str, Any]:
    """Compare a graph in ONNX Runtime with its PyTorch model.

    Logits are compared with those of the model in float64: the integer sums of the graph are exact, and PyTorch's sums
    in float32 have larger rounding errors. Metrics are compared with those of the model in float32.

    Args:
        model: in float32, quantised or not, as saved; in eval mode, on the CPU.
        graph: that `winnow.deployment.graph.write_graph` wrote from it.
        samples: in the shape of the graph.
        half: the graph computes in float16; then the noise control is the model in float16.

    Returns:
        The report: all comparisons, and ``failures``, a sentence for each check that failed.
    """
    exact = copy.deepcopy(model).double()
    found, control, float32 = _compare(model, exact, graph, samples, half)
    floor = _STEP if quantizers(model) else _ROUNDING
    limit = max(_RATIO * control.mean, floor * found.typical)
    report: dict[str, Any] = {
        "samples": samples.shapes(),
        "logits": {
            "mean_difference": found.mean,
            "largest_difference": found.largest,
            "control": "the model in float16" if half else "the model with 1e-6 relative noise on its embeddings",
            "control_mean_difference": control.mean,
            "control_largest_difference": control.largest,
            "float32_mean_difference": float32.mean,
            "ratio": found.mean / control.mean if control.mean else None,
            "allowed_mean_difference": limit,
            "typical_logit": found.typical,
        },
        "predictions": {
            "agreement": found.agreement,
            "control_agreement": control.agreement,
            "unlike": found.unlike_inputs,
            "control_unlike": control.unlike_inputs,
            "pytorch": dict(sorted(float32.counts.items())),
            "onnxruntime": dict(sorted(found.counts.items())),
        },
        "metrics": {
            "pytorch": float32.metric_values(),
            "onnxruntime": found.metric_values(),
            "control": control.metric_values(),
        },
        "matmuls": matmul_report(model, graph, longest=samples.longest),
        "weights": compare_weights(model, graph),
        "first_divergence": None,
    }
    report["failures"] = _failures(report, found, limit, samples)
    if report["failures"]:
        report["first_divergence"] = first_divergence(exact, graph, _some_inputs(samples), 1e-2 if half else 1e-4)
    return report


def _compare(
    model: PreTrainedModel, exact: PreTrainedModel, graph: Path, samples: Samples, half: bool
) -> tuple[OutputComparison, OutputComparison, OutputComparison]:
    """The graph, the noise control, and the model in float32."""
    task = samples.task
    deployed = DeployedModel(open_engine("onnxruntime", graph, torch.get_num_threads()), samples.batch_size)
    found, control, float32 = (OutputComparison(task, task.metrics(samples.split)) for _ in range(3))
    halved = copy.deepcopy(model)
    if half:
        halved.half()  # type: ignore[no-untyped-call]  # transformers wraps it without types
    for i, batch in enumerate([*samples.batches, *samples.unscored]):
        with nullcontext() if half else noise(exact, seed=i):
            disturbed = task.outputs(halved if half else exact, batch)
        outputs = {float32: task.outputs(model, batch), control: disturbed, found: task.outputs(deployed, batch)}
        reference = task.outputs(exact, batch)
        for comparison, values in outputs.items():
            comparison.update(values, reference, outputs[float32], batch, scored=i < len(samples.batches))
    return found, control, float32


def _failures(report: Mapping[str, Any], found: OutputComparison, limit: float, samples: Samples) -> list[str]:
    """A sentence for each check that failed."""
    failures = []
    if not found.mean <= limit:
        failures.append(f"the logits differ by {found.mean:.3g} on average, more than {limit:.3g}")
    unlike = {name: report["predictions"][name] for name in ("unlike", "control_unlike")}
    failures += metric_failures(report["metrics"], examples=len(samples.split), **unlike)
    expected, weights = report["matmuls"]["expected_int8"], report["weights"]
    for shape in ("as_exported", "fixed_shape"):
        matmuls = report["matmuls"][shape]
        if matmuls["in_float"] or matmuls["int8"] != expected:
            where = "the graph as exported" if shape == "as_exported" else "a fixed shape"
            failures.append(
                f"in {where} {matmuls['int8']} of {expected} matmuls run in int8, and in floating point "
                f"{_some(matmuls['in_float'])}"
            )
    if weights["in_float"]:
        failures.append(f"stored in floating point instead of integers: {_some(weights['in_float'])}")
    if weights["differ"]:
        failures.append(f"weights differ from the model: {_some(weights['differ'])}")
    if weights["zeros_lost"]:
        failures.append(f"{weights['zeros_lost']:,} zeros of the model are not zero in the graph")
    return failures


def metric_failures(metrics: Mapping[str, Any], *, examples: int, unlike: int, control_unlike: int) -> list[str]:
    """Metrics that differ by more than one example in 872, or than noise explains.

    Args:
        metrics: ``pytorch`` and ``onnxruntime``, each with values by name.
        examples: the number of scored examples.
        unlike: inputs on which graph and model decide differently.
        control_unlike: inputs on which the model decides differently under noise.
    """
    allowed = max(math.ceil(examples / _ONE_IN), control_unlike)
    if unlike <= allowed:
        return []
    whole = 100 if "exact_match" in metrics["pytorch"] else 1  # SQuAD's metrics are percentages
    return [
        f"{name} is {metrics['onnxruntime'][name]:.4f} in ONNX Runtime and {value:.4f} in PyTorch, a difference of "
        f"more than {allowed} of {examples:,} examples"
        for name, value in metrics["pytorch"].items()
        if not abs(metrics["onnxruntime"][name] - value) <= whole * (allowed / examples + _DIGITS)
    ]


def _some_inputs(samples: Samples) -> Mapping[str, Tensor]:
    """A batch of medium length with few rows, since the outputs of all modules are kept in memory."""
    later = samples.batches[len(samples.batches) // 2 :]
    batch = min(later, key=lambda batch: abs(len(batch["input_ids"]) - _ROWS))
    return fill_batch(batch, samples.inputs, samples.batch_size)


def _some(modules: list[str]) -> str:
    return ", ".join(modules[:_NAMED]) + (f" and {len(modules) - _NAMED} more" if len(modules) > _NAMED else "")
