"""Verify on real inputs of the task that an exported graph computes what its model computes."""

import copy
import math
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from winnow.deployment.deployed_model import DeployedModel
from winnow.deployment.divergence import first_divergence
from winnow.deployment.engines import SPARSE, STOCK, TITLES, Engine, open_engine
from winnow.deployment.matmuls import matmul_report
from winnow.deployment.parity import LastSums, OutputComparison, decisions, noise
from winnow.deployment.samples import Samples, fill_batch
from winnow.deployment.sparse_graph import SparseGraph, write_comparable
from winnow.deployment.weights import compare_weights
from winnow.engine.library import library
from winnow.errors import UserError
from winnow.models.quantized_model import quantizers
from winnow.text import four_digits

_RATIO = 1.5  # allowed, of the mean logit difference to that of the noise control or of the model in float32
_ONE_IN = 872  # examples, of which one is expected to get another decision
_ROWS = 8  # of the batch in which a divergence is searched
_DIGITS = 1e-6  # precision of metrics
_NAMED = 3  # modules listed in a message
# Differences that are always allowed, as fractions of the typical sum of absolute terms of a logit: the last digits of
# float32; and in a quantised model a few numbers that round to another integer, since the control of a small model may
# be 0.
_ROUNDING, _STEP = 3e-7, 2e-4


@torch.inference_mode()
def verify(
    model: PreTrainedModel, graph: Path, samples: Samples, *, half: bool = False, sparse: SparseGraph | None = None
) -> dict[str, Any]:
    """Compare a graph in ONNX Runtime with its PyTorch model, and the graph for the sparse engine with both.

    Logits are compared with those of the model in float64: the integer sums of the graph are exact, and PyTorch's sums
    in float32 have larger rounding errors. Metrics are compared with those of the model in float32.

    Args:
        model: in float32, quantised or not, as saved; in eval mode, on the CPU.
        graph: that `winnow.deployment.graph.write_graph` wrote from it.
        samples: in the shape of the graph.
        half: the graph computes in float16; then the noise control is the model in float16.
        sparse: written from ``graph``.

    Returns:
        The report: all comparisons, and ``failures``, a sentence for each check that failed; ``sparse`` is the same for
        the sparse engine, if there is a graph for it.
    """
    exact = copy.deepcopy(model).double()
    engines = {STOCK: open_engine(STOCK, graph, torch.get_num_threads())}
    refused = ""
    try:
        if sparse:
            engines[SPARSE] = open_engine(SPARSE, sparse.path, torch.get_num_threads())
    except UserError as error:
        refused = str(error)
    found = _compare(model, exact, engines, samples, half)
    floor = _STEP if quantizers(model) else _ROUNDING
    allowed = max(_RATIO * max(found.control.mean, found.float32.mean), floor * found.terms)
    report: dict[str, Any] = {
        "samples": samples.shapes(),
        **_sections(found, STOCK, allowed, "the model in float16" if half else None),
        "matmuls": matmul_report(model, graph, longest=samples.longest),
        "weights": compare_weights(model, graph),
        "first_divergence": None,
    }
    report["failures"] = _output_failures(report, STOCK, samples) + _structure_failures(report)
    inputs, rounding = _some_inputs(samples), 1e-2 if half else 1e-4
    if report["failures"]:
        report["first_divergence"] = first_divergence(exact, graph, inputs, rounding)
    if sparse:
        report[SPARSE] = {"failures": [refused], **sparse.facts()}
    if sparse and not refused:
        sections = _sections(found, SPARSE, allowed)
        sections["predictions"]["agreement_with_onnxruntime"] = found.agreement
        failures = _output_failures(sections, SPARSE, samples)
        diverged = _sparse_divergence(exact, graph, inputs, rounding) if failures else None
        report[SPARSE] |= {"failures": failures, **sections, "first_divergence": diverged}
    return report


@dataclass(frozen=True)
class _Compared:
    """Comparisons with the model: of the graph in each engine, of the noise control, and of the model in float32.

    Args:
        agreement: fraction of the decisions of ONNX Runtime that the sparse engine takes as well.
        terms: the typical sum of absolute terms of a logit.
    """

    deployed: Mapping[str, OutputComparison]
    control: OutputComparison
    float32: OutputComparison
    agreement: float
    terms: float


def _compare(
    model: PreTrainedModel, exact: PreTrainedModel, engines: Mapping[str, Engine], samples: Samples, half: bool
) -> _Compared:
    task = samples.task
    deployed = {name: DeployedModel(engine, samples.batch_size) for name, engine in engines.items()}
    compared = {name: OutputComparison(task, task.metrics(samples.split)) for name in (*engines, "control", "float32")}
    equal = decided = 0
    terms = 0.0
    halved = copy.deepcopy(model)
    if half:
        halved.half()  # type: ignore[no-untyped-call]  # transformers wraps it without types
    for i, batch in enumerate([*samples.batches, *samples.unscored]):
        with nullcontext() if half else noise(exact, seed=i):
            disturbed = task.outputs(halved if half else exact, batch)
        outputs = {"float32": task.outputs(model, batch), "control": disturbed}
        outputs |= {name: task.outputs(each, batch) for name, each in deployed.items()}
        with LastSums() as sums:
            reference = task.outputs(exact, batch)
        terms += sums.terms() * len(batch["input_ids"]) / samples.count
        for name, comparison in compared.items():
            scored = i < len(samples.batches)
            comparison.update(outputs[name], reference, outputs["float32"], batch, scored=scored)
        if SPARSE in engines:
            stock, sparse = (decisions(task, outputs[name], batch) for name in (STOCK, SPARSE))
            equal, decided = equal + int(((stock == sparse) & (stock >= 0)).sum()), decided + int((stock >= 0).sum())
    control, float32 = compared.pop("control"), compared.pop("float32")
    return _Compared(compared, control, float32, equal / decided if decided else 1.0, terms)


def _sections(found: _Compared, engine: str, allowed: float, control: str | None = None) -> dict[str, Any]:
    """The sections of the report on the outputs of an engine."""
    deployed = found.deployed[engine]
    compared = {"pytorch": found.float32, engine: deployed, "control": found.control}
    return {
        "logits": {
            "mean_difference": deployed.mean,
            "largest_difference": deployed.largest,
            "control": control or "1e-6 noise on the embeddings",
            "control_mean_difference": found.control.mean,
            "control_largest_difference": found.control.largest,
            "float32_mean_difference": found.float32.mean,
            "ratio": deployed.mean / found.control.mean if found.control.mean else None,
            "allowed_mean_difference": allowed,
            "typical_logit": deployed.typical,
            "typical_terms": found.terms,
        },
        "predictions": {
            "agreement": deployed.agreement,
            "control_agreement": found.control.agreement,
            "unlike": deployed.unlike_inputs,
            "control_unlike": found.control.unlike_inputs,
            "pytorch": dict(sorted(found.float32.counts.items())),
            engine: dict(sorted(deployed.counts.items())),
        },
        "metrics": {name: comparison.metric_values() for name, comparison in compared.items()},
    }


def _sparse_divergence(
    exact: PreTrainedModel, graph: Path, inputs: Mapping[str, Tensor], rounding: float
) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory() as folder:
        write_comparable(graph, comparable := Path(folder) / graph.name)
        return first_divergence(exact, comparable, inputs, rounding, library())


def _output_failures(report: Mapping[str, Any], engine: str, samples: Samples) -> list[str]:
    """A sentence for each check of the outputs of an engine that failed."""
    mean, allowed = (report["logits"][name] for name in ("mean_difference", "allowed_mean_difference"))
    unlike = {name: report["predictions"][name] for name in ("unlike", "control_unlike")}
    failures = [] if mean <= allowed else [f"the logits differ by {mean:.3g} on average, more than {allowed:.3g}"]
    return failures + metric_failures(report["metrics"], engine, examples=len(samples.split), **unlike)


def _structure_failures(report: Mapping[str, Any]) -> list[str]:
    """A sentence for each check of matmuls and weights that failed."""
    failures = []
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


def metric_failures(
    metrics: Mapping[str, Any], engine: str = STOCK, *, examples: int, unlike: int, control_unlike: int
) -> list[str]:
    """Metrics that differ by more than chance explains, of one example in 872 or of as many as under noise.

    Args:
        metrics: ``pytorch`` and that of the engine, each with values by name.
        engine: onnxruntime or sparse.
        examples: the number of scored examples.
        unlike: inputs on which graph and model decide differently.
        control_unlike: inputs on which the model decides differently under noise.
    """
    # counts of few chance events: two standard deviations above the expected one are allowed
    expected = max(examples / _ONE_IN, control_unlike)
    allowed = max(1, math.floor(expected + 2 * math.sqrt(expected)))
    if unlike <= allowed:
        return []
    whole = 100 if "exact_match" in metrics["pytorch"] else 1  # SQuAD's metrics are percentages
    return [
        f"{name} is {four_digits(metrics[engine][name])} in {TITLES[engine]} and {four_digits(value)} in PyTorch, a "
        f"difference of more than {allowed} of {examples:,} examples"
        for name, value in metrics["pytorch"].items()
        if not _are_close(metrics[engine][name], value, whole * (allowed / examples + _DIGITS))
    ]


def _are_close(one: float | None, other: float | None, allowed: float) -> bool:
    """True for two values that differ by no more than is allowed, and for two that are missing."""
    return one is other is None if one is None or other is None else abs(one - other) <= allowed


def _some_inputs(samples: Samples) -> Mapping[str, Tensor]:
    """A batch of medium length with few rows, since the outputs of all modules are kept in memory."""
    later = samples.batches[len(samples.batches) // 2 :]
    batch = min(later, key=lambda batch: abs(len(batch["input_ids"]) - _ROWS))
    return fill_batch(batch, samples.inputs, samples.batch_size)


def _some(modules: list[str]) -> str:
    return ", ".join(modules[:_NAMED]) + (f" and {len(modules) - _NAMED} more" if len(modules) > _NAMED else "")
