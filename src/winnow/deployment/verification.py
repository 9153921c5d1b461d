"""The proof that an exported graph is the model it was made from, on real inputs of the task."""

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
from winnow.deployment.matmuls import products_report
from winnow.deployment.parity import Said, noise
from winnow.deployment.samples import Samples, filled
from winnow.deployment.weights import compare_weights
from winnow.models.quantized_model import quantizers

_RATIO = 1.5  # mean logit difference to that of the noise control
_ONE_IN = 872  # examples, of which one may be decided otherwise
_ROWS = 8  # that a divergence is looked for in
_DIGITS = 1e-6  # metrics have no more
_NAMED = 3  # modules that a sentence lists
# What is allowed whatever the control, as a fraction of the typical logit: the last digit of float32; and in a
# quantised model, as the control of a small one may be 0, a number here and there that is rounded to the other side.
_ROUNDING, _STEP = 3e-7, 1e-3


@torch.inference_mode()
def verify(model: PreTrainedModel, graph: Path, samples: Samples, *, half: bool = False) -> dict[str, Any]:
    """Compare a graph in ONNX Runtime with the PyTorch model that it was written from.

    Logits are compared with those of the model in float64: the sums of integers in the graph are exact, and in float32
    PyTorch is further from them, by the roundings of its own sums, than the graph is. Metrics are those of float32.

    Args:
        model: in float32, quantised or not, as it was saved; in eval mode, on the CPU.
        graph: that `winnow.deployment.graph.write_graph` wrote of it.
        samples: in the shape that the graph has.
        half: the graph computes in float16; then the noise control is the model in float16.

    Returns:
        The report: what was compared, and ``failures``, a sentence for each claim that does not hold.
    """
    exact = copy.deepcopy(model).double()
    found, control, usual = _compare(model, exact, graph, samples, half)
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
            "float32_mean_difference": usual.mean,
            "ratio": found.mean / control.mean if control.mean else None,
            "allowed_mean_difference": limit,
            "typical_logit": found.typical,
        },
        "predictions": {
            "agreement": found.agreement,
            "control_agreement": control.agreement,
            "unlike": found.unlike_inputs,
            "control_unlike": control.unlike_inputs,
            "pytorch": dict(sorted(usual.counts.items())),
            "onnxruntime": dict(sorted(found.counts.items())),
        },
        "metrics": {"pytorch": usual.measured(), "onnxruntime": found.measured(), "control": control.measured()},
        "matmuls": products_report(model, graph, longest=samples.longest),
        "weights": compare_weights(model, graph),
        "first_divergence": None,
    }
    report["failures"] = _failures(report, found, limit, samples)
    if report["failures"]:
        report["first_divergence"] = first_divergence(exact, graph, _some_inputs(samples), 1e-2 if half else 1e-4)
    return report


def _compare(
    model: PreTrainedModel, exact: PreTrainedModel, graph: Path, samples: Samples, half: bool
) -> tuple[Said, Said, Said]:
    """The graph, the noise control and the model as users run it."""
    task = samples.task
    deployed = DeployedModel(open_engine("onnxruntime", graph, torch.get_num_threads()), samples.batch_size)
    found, control, usual = (Said(task, task.metrics(samples.split)) for _ in range(3))
    halved = copy.deepcopy(model).half() if half else None
    for i, batch in enumerate([*samples.batches, *samples.further]):
        with nullcontext() if half else noise(exact, seed=i):
            disturbed = task.outputs(halved or exact, batch)
        said = {usual: task.outputs(model, batch), control: disturbed, found: task.outputs(deployed, batch)}
        truth = task.outputs(exact, batch)
        for each, outputs in said.items():
            each.update(outputs, truth, said[usual], batch, scored=i < len(samples.batches))
    return found, control, usual


def _failures(report: Mapping[str, Any], found: Said, limit: float, samples: Samples) -> list[str]:
    """A sentence for each claim that does not hold."""
    failures = []
    if not found.mean <= limit:
        failures.append(f"the logits differ by {found.mean:.3g} on average, more than {limit:.3g}")
    unlike = {name: report["predictions"][name] for name in ("unlike", "control_unlike")}
    failures += metric_failures(report["metrics"], examples=len(samples.split), **unlike)
    for kind, says in (("as_exported", "as exported"), ("fixed_shape", "in a fixed shape")):
        products = report["matmuls"][kind]
        if products["in_float"] or products["int8"] != report["matmuls"]["expected_int8"]:
            failures.append(
                f"{products['int8']} matmuls run in int8 {says}, not {report['matmuls']['expected_int8']}; in floating "
                f"point are {_some(products['in_float'])}"
            )
    if report["weights"]["in_float"]:
        failures.append(f"stored in floating point, not as integers, are {_some(report['weights']['in_float'])}")
    if report["weights"]["differ"]:
        failures.append(f"weights are not those of the model: {_some(report['weights']['differ'])}")
    if report["weights"]["zeros_lost"]:
        failures.append(f"{report['weights']['zeros_lost']:,} zeros of the model are none in the graph")
    return failures


def metric_failures(metrics: Mapping[str, Any], *, examples: int, unlike: int, control_unlike: int) -> list[str]:
    """Metrics that are further apart than one example in 872, or than noise moves them.

    Args:
        metrics: ``pytorch`` and ``onnxruntime``, each with the values by name.
        examples: that were measured.
        unlike: inputs of which graph and model say something else.
        control_unlike: inputs of which the model says something else under noise: so many lie on the border.
    """
    allowed = max(math.ceil(examples / _ONE_IN), control_unlike)
    if unlike <= allowed:
        return []
    whole = 100 if "exact_match" in metrics["pytorch"] else 1  # SQuAD's metrics are percentages
    return [
        f"{name} is {metrics['onnxruntime'][name]:.4f} in ONNX Runtime and {value:.4f} in PyTorch, further apart than "
        f"{allowed} of {examples:,} examples"
        for name, value in metrics["pytorch"].items()
        if not abs(metrics["onnxruntime"][name] - value) <= whole * (allowed / examples + _DIGITS)
    ]


def _some_inputs(samples: Samples) -> Mapping[str, Tensor]:
    """A batch of medium length, and of few rows, as the outputs of all modules are kept."""
    later = samples.batches[len(samples.batches) // 2 :]
    batch = min(later, key=lambda batch: abs(len(batch["input_ids"]) - _ROWS))
    return filled(batch, samples.inputs, samples.batch_size)


def _some(modules: list[str]) -> str:
    return ", ".join(modules[:_NAMED]) + (f" and {len(modules) - _NAMED} more" if len(modules) > _NAMED else "")
