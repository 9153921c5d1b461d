"""Scoring a model on the splits of a task, in float32, as it is deployed."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from src.data.datamodule import TaskData
from src.models.module import metric_suffixes
from src.modifiers.masks import encoder_weights


@torch.inference_mode()
def evaluate(model: nn.Module, data: TaskData, splits: Iterable[str]) -> dict[str, float]:
    """Metrics of each split: ``accuracy`` for the first, with the split's suffix for the others."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device).eval()
    names = list(splits)
    result: dict[str, float] = {}
    for name, suffix in zip(names, metric_suffixes(names), strict=True):
        metrics = data.task.metrics().to(device)
        for batch in data.eval_dataloader(name):
            batch = {key: value.to(device) for key, value in batch.items()}
            data.task.update_metrics(metrics, model(**data.task.model_inputs(batch)), batch)
        values = metrics.compute().items()
        result |= {metric + suffix: round(float(value), 7) for metric, value in values}  # float32 has no more digits
    return result


def sparsity_report(model: nn.Module) -> dict[str, Any]:
    """Zeros measured in a model: over the encoder's linear weights, by layer, and parameters in all."""
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
