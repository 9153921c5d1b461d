"""The proof that an exported graph is the model it was made from, on real inputs of the task."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from src.deployment.divergence import first_divergence
from src.deployment.engines import Engine, open_engine
from src.deployment.matmuls import products_report
from src.deployment.parity import Said, noise
from src.deployment.samples import Samples, filled
from src.deployment.weights import compare_weights

_RATIO = 1.5  # mean logit difference to that of the noise control
_FEW = 0.01  # of the inputs may have other logits whatever the control: a number on the other side of a half is enough
_ONE_IN = 872  # examples, of which one may be decided otherwise
_ROWS = 8  # that a divergence is looked for in
_DIGITS = 1e-6  # metrics have no more
_NAMED = 3  # modules that a sentence lists
_ROUNDING = 3e-7  # of the typical logit: below it two ways to compute in float32 are equal


@torch.inference_mode()
def verify(model: PreTrainedModel, graph: Path, samples: Samples, *, half: bool = False) -> dict[str, Any]:
    """Compare a graph in ONNX Runtime with the PyTorch model that it was written from.

    Args:
        model: in float32, quantised or not; in eval mode, on the CPU.
        graph: that `src.deployment.graph.write_graph` wrote of it.
        samples: in the shape that the graph has.
        half: the graph computes in float16; then the noise control is the model in float16.

    Returns:
        The report: what was compared, and ``failures``, a sentence for each claim that does not hold.
    """
    found, control, expected = _compare(model, graph, samples, half)
    limit = max(_RATIO * control.mean, _ROUNDING * found.typical)
    report: dict[str, Any] = {
        "samples": samples.shapes(),
        "logits": {
            "mean_difference": found.mean,
            "largest_difference": found.largest,
            "moved_inputs": found.moved,
            "control": "the model in float16" if half else "the model with 1e-6 relative noise on its embeddings",
            "control_mean_difference": control.mean,
            "control_moved_inputs": control.moved,
            "control_largest_difference": control.largest,
            "ratio": found.mean / control.mean if control.mean else None,
            "allowed_mean_difference": limit,
            "typical_logit": found.typical,
        },
        "predictions": {
            "agreement": found.agreement,
            "control_agreement": control.agreement,
            "unlike": found.unlike_inputs,
            "control_unlike": control.unlike_inputs,
            "pytorch": dict(sorted(expected.counts.items())),
            "onnxruntime": dict(sorted(found.counts.items())),
        },
        "metrics": {"pytorch": expected.measured(), "onnxruntime": found.measured(), "control": control.measured()},
        "matmuls": products_report(model, graph, longest=samples.longest),
        "weights": compare_weights(model, graph),
        "first_divergence": None,
    }
    report["failures"] = _failures(report, found, limit, samples)
    if report["failures"]:
        report["first_divergence"] = first_divergence(model, graph, _some_inputs(samples), 1e-2 if half else 1e-4)
    return report


def _compare(model: PreTrainedModel, graph: Path, samples: Samples, half: bool) -> tuple[Said, Said, Said]:
    """The graph, the noise control and the model itself, each beside the model."""
    task, engine = samples.task, open_engine("onnxruntime", graph, torch.get_num_threads())
    found, control, expected = (Said(task, task.metrics(samples.split)) for _ in range(3))
    halved = copy.deepcopy(model).half() if half else None
    for i, batch in enumerate([*samples.batches, *samples.further]):
        outputs, scored = task.outputs(model, batch), i < len(samples.batches)
        if halved is not None:
            disturbed = task.outputs(halved, batch)
        else:
            with noise(model, seed=i):
                disturbed = task.outputs(model, batch)
        for said, values in (
            (expected, outputs),
            (control, disturbed),
            (found, _run(engine, batch, samples.batch_size)),
        ):
            said.update(values, outputs, batch, scored)
    return found, control, expected


def _run(engine: Engine, batch: Mapping[str, Tensor], batch_size: int | None) -> SimpleNamespace:
    inputs = {name: value.numpy() for name, value in filled(batch, engine.inputs, batch_size).items()}
    rows = len(batch["input_ids"])
    return SimpleNamespace(**{name: torch.from_numpy(v[:rows]) for name, v in engine.run(inputs).items()})


def _failures(report: Mapping[str, Any], found: Said, limit: float, samples: Samples) -> list[str]:
    """A sentence for each claim that does not hold."""
    failures = []
    few = max(_FEW * samples.count, _RATIO * report["logits"]["control_moved_inputs"])
    if not found.mean <= limit and not (found.mean < math.inf and found.moved <= few):
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
