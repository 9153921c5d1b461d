"""How far two models are apart on the same inputs: logits, what is decided from them, and the metric."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from transformers import PreTrainedModel

from winnow.tasks.metrics import json_number

NOISE = 1e-6  # relative, on the output of the embeddings


@contextmanager
def noise(model: PreTrainedModel, seed: int = 0) -> Iterator[None]:
    """Within it the output of the embeddings is multiplied by 1 + 1e-6 times a normal number.

    Rounding to a grid turns the smallest difference into a step of it, so a quantised model differs from itself too.
    """
    generator = torch.Generator().manual_seed(seed)

    def disturb(module: Any, inputs: Any, output: Tensor) -> Tensor:
        return output * (1 + NOISE * torch.randn(output.shape, generator=generator))

    embeddings = getattr(model.base_model, "embeddings", model.get_input_embeddings())
    handle = embeddings.register_forward_hook(disturb)
    try:
        yield
    finally:
        handle.remove()


class Said:
    """What one model says of all inputs, beside the same model in float64 and in float32.

    Args:
        task: prepared.
        metrics: of the task, fresh; they see the examples that have labels.
    """

    def __init__(self, task: Any, metrics: Mapping[str, Any]) -> None:
        self.task = task
        self.metrics = MetricCollection(dict(metrics))
        self.counts: Counter[str] = Counter()
        self.total = self.largest = self.scale = 0.0
        self.values = self.decisions = self.equal = self.unlike_inputs = 0

    def update(self, outputs: Any, exact: Any, usual: Any, batch: Mapping[str, Tensor], scored: bool) -> None:
        """Take in a batch.

        Args:
            outputs: of the model, with the task's ``output_names`` as attributes.
            exact: with which its logits are compared.
            usual: with which its decisions are compared.
            batch: inputs, and labels.
            scored: whether the metrics count it.
        """
        if scored:
            self.task.update_metrics(self.metrics, outputs, batch)
        for name in self.task.output_names:
            theirs = getattr(exact, name).double()
            real = torch.ones_like(theirs, dtype=torch.bool)
            if self.task.outputs_per_token:
                real &= batch["attention_mask"].bool().view(*theirs.shape[:2], *[1] * (theirs.ndim - 2))
            difference = (getattr(outputs, name).double() - theirs).abs().masked_fill(~real, 0)
            self.total += float(difference.sum())
            self.scale += float(theirs.abs().masked_fill(~real, 0).sum())
            self.largest = max(self.largest, float(difference.max()))
            self.values += int(real.sum())
        mine, theirs = decided(self.task, outputs, batch), decided(self.task, usual, batch)
        self.decisions += int((mine >= 0).sum())
        self.equal += int(((mine == theirs) & (mine >= 0)).sum())
        self.unlike_inputs += int((mine != theirs).any(dim=1).sum())
        self.counts.update(_names(self.task, mine))

    @property
    def mean(self) -> float:
        """Mean absolute difference of the logits; inf where one is no number."""
        mean = self.total / self.values
        return mean if mean == mean else float("inf")

    @property
    def typical(self) -> float:
        """Mean absolute logit, in float64."""
        return self.scale / self.values

    @property
    def agreement(self) -> float:
        """Fraction of the decisions that are those of float32."""
        return self.equal / self.decisions if self.decisions else 1.0

    def measured(self) -> dict[str, float]:
        return {name: json_number(value) for name, value in self.metrics.compute().items()}


def decided(task: Any, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Decisions of each input as whole numbers, ``(batch, decisions)``; -1 is none, as on padding.

    The class of a text, the tag of each token, first and last token of an answer, yes or no for each of many labels.
    """
    kind = task.head_settings().get("problem_type")
    values = [getattr(outputs, name) for name in task.output_names]
    padding = batch["attention_mask"] == 0
    if len(values) > 1:
        return torch.stack([v.masked_fill(padding, -torch.inf).argmax(dim=-1) for v in values], dim=1)
    if kind == "regression":
        return torch.full((len(padding), 1), -1)
    if kind == "multi_label_classification":
        return (values[0] > 0).long()
    if task.outputs_per_token:
        return values[0].argmax(dim=-1).masked_fill(padding, -1)
    return values[0].argmax(dim=-1, keepdim=True)


def _names(task: Any, decisions: Tensor) -> dict[str, int]:
    """How often each is decided."""
    if len(task.output_names) > 1:
        nothing = int((decisions == 0).all(dim=1).sum())
        return {"no answer": nothing, "an answer": len(decisions) - nothing}
    if task.head_settings().get("problem_type") == "multi_label_classification":
        return dict(zip(task.labels, decisions.sum(dim=0).tolist(), strict=True))
    found, counts = decisions[decisions >= 0].unique(return_counts=True)
    return {task.labels[i]: count for i, count in zip(found.tolist(), counts.tolist(), strict=True)}
