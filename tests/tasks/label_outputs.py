"""The outputs of a model on labelled texts, as its evaluation collects them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torchmetrics import MetricCollection
from transformers.modeling_outputs import SequenceClassifierOutput

from winnow.tasks.task import Task


def collected(
    task: Task, logits: Tensor, split: Mapping[str, Any], examples: Sequence[int] | None = None
) -> MetricCollection:
    """The metrics of a task, updated in batches of unequal size, the last windows first.

    Args:
        task: prepared.
        logits: of each window.
        split: the columns of a prepared split.
        examples: the row of each window; None: each is a row.
    """
    metrics = MetricCollection(task.metrics(Dataset.from_dict(dict(split))))
    rows = torch.arange(len(logits)) if examples is None else torch.tensor(examples)
    for part in torch.arange(len(logits)).flip(0).split(7):
        batch = {"example": rows[part], "truncated": torch.zeros(len(part), dtype=torch.bool)}
        task.update_metrics(metrics, SequenceClassifierOutput(logits=logits[part]), batch)
    return metrics
