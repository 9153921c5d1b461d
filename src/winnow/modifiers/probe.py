"""How far the outputs of a changed model are from those of the model before, on some texts."""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from winnow.tasks.task import Task

Batch = Mapping[str, Tensor]


class Probe:
    """Some texts, and the outputs of the whole model on them."""

    @torch.no_grad()
    def __init__(self, task: Task, batches: Sequence[Batch], model: nn.Module) -> None:
        self.task = task
        self.batches = [(batch, task.outputs(model, batch)) for batch in batches]
        self.texts = sum(len(batch["input_ids"]) for batch in batches)

    @torch.no_grad()
    def divergence(self, model: nn.Module) -> float:
        """Mean distance of a model's outputs from those of the whole one; infinity where they are not finite."""
        total = 0.0
        for batch, target in self.batches:
            outputs = self.task.outputs(model, batch)
            distance = self.task.distillation_loss(outputs, target, batch, temperature=1.0)
            total += len(batch["input_ids"]) * float(distance)
        return total / self.texts if math.isfinite(total) else math.inf


def some_batches(batches: Iterable[Batch], texts: int, tokens: float = math.inf) -> list[Batch]:
    """Whole batches, up to a number of texts and of tokens; at least one."""
    found: list[Batch] = []
    for batch in batches:
        found.append(batch)
        texts -= len(batch["input_ids"])
        tokens -= int(batch["attention_mask"].sum())
        if texts <= 0 or tokens <= 0:
            break
    return found
