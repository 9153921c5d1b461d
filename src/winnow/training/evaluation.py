"""Score a model on the splits of a task, in float32."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchmetrics import MetricCollection
from transformers import PreTrainedModel

from winnow.config.labels import folder_name
from winnow.deployment.parity import count_decisions, decisions
from winnow.deployment.prediction_files import write_predictions
from winnow.errors import UserError
from winnow.files.atomic import compact_json, write_atomically
from winnow.models.finite import are_finite
from winnow.modifiers.masks import encoder_weights
from winnow.tasks.metrics import json_number, metric_collection, metric_suffixes
from winnow.tasks.predictor import EVEN, THRESHOLD
from winnow.training.task_data import TaskData


def evaluate(
    model: nn.Module,
    data: TaskData,
    splits: Iterable[str],
    folder: Path | None = None,
    decided: Counter[str] | None = None,
) -> dict[str, float | None]:
    """Metrics of each split: ``accuracy`` for the first, with the split's suffix for the others.

    A metric without a finite value is None.

    Args:
        model: in float32.
        data: with the splits.
        splits: names of some of them.
        folder: for the predictions and the prediction files of the task; None: they are not written.
        decided: counts the decisions by name, of a task that has names for them.

    Raises:
        UserError: if an output of the model is not finite.
    """
    names = list(splits)
    result: dict[str, float | None] = {}
    for name, suffix in zip(names, metric_suffixes(names), strict=True):
        metrics = _scored(model, data, name, decided)
        result |= {metric + suffix: json_number(value) for metric, value in metrics.compute().items()}
        if folder is not None:
            _write_predictions(data, name, metrics, folder)
    return result


def decide_threshold(model: PreTrainedModel, data: TaskData) -> dict[str, float]:
    """Tune the threshold of the task on the first validation split if the task wants that.

    The task and the configuration of the model get it, unless it is one half.

    Returns:
        The same for result.json.
    """
    task, config = data.task, model.config
    if task.tunes_threshold:
        task.threshold = task.best_threshold(_scored(model, data, next(iter(data.validation))))
    if hasattr(config, THRESHOLD):
        delattr(config, THRESHOLD)  # of the run that the model comes from
    if task.threshold == EVEN:
        return {}
    setattr(config, THRESHOLD, task.threshold)
    return {THRESHOLD: task.threshold}


@torch.inference_mode()
def _scored(model: nn.Module, data: TaskData, name: str, decided: Counter[str] | None = None) -> MetricCollection:
    """The metrics of the task, updated with a whole split."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device).train(False)
    metrics = metric_collection(data.task.metrics(data.splits[name])).to(device)
    finite = torch.tensor(True, device=device)
    for batch in data.eval_dataloader(name):
        batch = {key: value.to(device) for key, value in batch.items()}
        outputs = data.task.outputs(model, batch)
        finite &= are_finite(outputs).to(device)
        data.task.update_metrics(metrics, outputs, batch)
        if decided is not None and (data.task.labels or len(data.task.output_names) > 1):
            decided.update(count_decisions(data.task, decisions(data.task, outputs, batch)))
    if not finite:
        raise UserError(
            f"the outputs of the model for the {name} split are NaN or infinite, so it has no metrics; train it "
            "again, with a smaller recipe.optimizer.learning_rate."
        )
    return metrics


def _write_predictions(data: TaskData, name: str, metrics: MetricCollection, folder: Path) -> None:
    """The files of a split; their names begin with its name, unless it is the first validation split."""
    prefix = "" if name in list(data.validation)[:1] else folder_name(name) + "_"
    for file, content in data.task.prediction_files(metrics).items():
        write_atomically(folder / f"{prefix}{file}", compact_json(content))
    lines = data.task.predictions(metrics)
    if first := next(lines, None):
        write_predictions(folder / f"{prefix}predictions.jsonl", chain([first], lines), {})


def constant_prediction(decided: Mapping[str, int], metrics: Mapping[str, float | None]) -> str:
    """What a model predicts for every input although that is wrong for some; '' for a model whose predictions differ.

    Args:
        decided: as `evaluate` counts them.
        metrics: of the same rows, the main one first.
    """
    taken = [name for name, count in decided.items() if count]
    perfect = next(iter(metrics.values()), None) in (1, 100)
    if not decided or len(taken) > 1 or taken == ["an answer"] or perfect:
        return ""
    return taken[0] if taken else "no label"


def sparsity_report(model: PreTrainedModel) -> dict[str, Any]:
    """Measured zeros: over the encoder's linear weights, by matrix, and over all parameters."""
    weights = encoder_weights(model)
    zeros = {name: weight.numel() - int(torch.count_nonzero(weight)) for name, weight in weights.items()}
    total = sum(weight.numel() for weight in weights.values())
    parameters = list(model.parameters())
    return {
        "sparsity": sum(zeros.values()) / total if total else 0.0,
        "sparsity_by_layer": {name: zeros[name] / weights[name].numel() for name in weights},
        "parameters": sum(p.numel() for p in parameters),
        "nonzero_parameters": sum(int(torch.count_nonzero(p)) for p in parameters),
        "layers": model.config.num_hidden_layers,
    }
