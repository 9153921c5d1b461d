"""Differences between two models on the same inputs: in logits, in decisions, and in metrics."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchmetrics import MetricCollection
from transformers import PreTrainedModel

from winnow.tasks.metrics import json_number
from winnow.tasks.predictor import EVEN
from winnow.tasks.task import Task

NOISE = 1e-6  # relative, on the output of the embeddings


@contextmanager
def noise(model: PreTrainedModel, seed: int = 0) -> Iterator[None]:
    """Multiply the output of the embeddings by 1 + 1e-6 times a normal number.

    Rounding to a quantisation grid turns the smallest difference into a whole step, so a quantised model with noise
    differs from itself. That difference is the control for the graph.
    """
    generator = torch.Generator().manual_seed(seed)

    def disturb(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output * (1 + NOISE * torch.randn(output.shape, generator=generator))

    embeddings: nn.Module = getattr(model.base_model, "embeddings", model.get_input_embeddings())
    handle = embeddings.register_forward_hook(disturb)
    try:
        yield
    finally:
        handle.remove()


class LastSums(TorchFunctionMode):
    """Within it, a forward pass of a model keeps the last linear layer that ran, whose sums are the logits."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear:
            self._last = args
        return func(*args, **(kwargs or {}))

    def terms(self) -> float:
        """Mean over the sums of the absolute values of their terms, those of padding included.

        Rounding errors are in proportion to it, and not to a logit in which large terms cancel.
        """
        x, weight, bias = self._last
        return float(F.linear(x.abs(), weight.abs(), bias if bias is None else bias.abs()).mean())


class OutputComparison:
    """The outputs of one model, compared with the same model in float64 (logits) and in float32 (decisions).

    Args:
        task: prepared.
        metrics: of the task, fresh; they see the examples with labels.
    """

    def __init__(self, task: Task, metrics: Mapping[str, Any]) -> None:
        self.task = task
        self.metrics = MetricCollection(dict(metrics))
        self.counts: Counter[str] = Counter()  # decision -> how often the model takes it
        self.difference_sum = self.largest = self.logit_sum = 0.0
        self.logits = self.decisions = self.equal_decisions = self.unlike_inputs = 0

    def update(self, outputs: Any, exact: Any, float32: Any, batch: Mapping[str, Tensor], scored: bool) -> None:
        """Add a batch.

        Args:
            outputs: of the model, with the task's ``output_names`` as attributes.
            exact: of the model in float64; its logits are the reference.
            float32: of the model in float32; its decisions are the reference.
            batch: inputs, and labels.
            scored: whether the batch counts for the metrics.
        """
        if scored:
            self.task.update_metrics(self.metrics, outputs, batch)
        for name in self.task.output_names:
            self._add_logits(getattr(outputs, name).double(), getattr(exact, name).double(), batch)
        found, expected = decisions(self.task, outputs, batch), decisions(self.task, float32, batch)
        self.decisions += int((found >= 0).sum())
        self.equal_decisions += int(((found == expected) & (found >= 0)).sum())
        self.unlike_inputs += int((found != expected).any(dim=1).sum())
        self.counts.update(count_decisions(self.task, found))

    def _add_logits(self, found: Tensor, expected: Tensor, batch: Mapping[str, Tensor]) -> None:
        real = torch.ones_like(expected, dtype=torch.bool)
        if self.task.outputs_per_token:
            real &= batch["attention_mask"].bool().view(*expected.shape[:2], *[1] * (expected.ndim - 2))
        difference = (found - expected).abs().masked_fill(~real, 0)
        self.difference_sum += float(difference.sum())
        self.logit_sum += float(expected.abs().masked_fill(~real, 0).sum())
        self.largest = max(self.largest, float(difference.max()))
        self.logits += int(real.sum())

    @property
    def mean(self) -> float:
        """Mean absolute difference of the logits; infinity if a logit is NaN."""
        mean = self.difference_sum / self.logits
        return mean if mean == mean else float("inf")

    @property
    def typical(self) -> float:
        """Mean absolute logit, in float64."""
        return self.logit_sum / self.logits

    @property
    def agreement(self) -> float:
        """Fraction of the decisions that equal those of the model in float32."""
        return self.equal_decisions / self.decisions if self.decisions else 1.0

    def metric_values(self) -> dict[str, float | None]:
        return {name: json_number(value) for name, value in self.metrics.compute().items()}


def decisions(task: Task, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The decisions on each input as integers, ``(batch, decisions)``; -1 for none, as on padding.

    The class of a text, the tag of each token, first and last token of an answer, yes or no for each of many labels.
    """
    problem_type = task.head_settings().get("problem_type")
    logits: list[Tensor] = [getattr(outputs, name) for name in task.output_names]
    padding = batch["attention_mask"] == 0
    if len(logits) > 1:
        return torch.stack([v.masked_fill(padding, -torch.inf).argmax(dim=-1) for v in logits], dim=1)
    if problem_type == "regression":
        return torch.full((len(padding), 1), -1)
    if problem_type == "multi_label_classification":
        return (logits[0].sigmoid() > task.threshold).long()
    if task.threshold != EVEN:  # two labels
        return (logits[0].softmax(dim=-1)[:, 1:] > task.threshold).long()
    if task.outputs_per_token:
        return logits[0].argmax(dim=-1).masked_fill(padding, -1)
    return logits[0].argmax(dim=-1, keepdim=True)


def count_decisions(task: Task, found: Tensor) -> dict[str, int]:
    """Name of a decision -> how often it was taken."""
    if len(task.output_names) > 1:
        unanswered = int((found == 0).all(dim=1).sum())
        return {"no answer": unanswered, "an answer": len(found) - unanswered}
    if task.head_settings().get("problem_type") == "multi_label_classification":
        return dict(zip(task.labels, found.sum(dim=0).tolist(), strict=True))
    classes = found[found >= 0]
    return {task.labels[i]: count for i, count in enumerate(classes.bincount().tolist()) if count}
