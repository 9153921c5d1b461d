"""How far the outputs of a changed model are from those of the model before, on some texts."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from winnow.modifiers.calibration_texts import Batch
from winnow.tasks.task import Task


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
