"""What a modifier asks of a training: a forward pass, its loss, and the distance of two models' outputs."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from winnow.data.batch import Batch
from winnow.errors import UserError
from winnow.functional.distillation_loss import (
    binary_distillation_loss,
    distillation_loss,
    regression_distillation_loss,
)

_PER_TEXT_OR_TOKEN = ("logits", "prediction_logits")
_OVER_TOKENS = ("start_logits", "end_logits")


class Objective(Protocol):
    """A `winnow.tasks.task.Task`, or another object with these methods, such as the ``task`` of a LightningModule."""

    def outputs(self, model: nn.Module, batch: Batch) -> Any:
        """The forward pass of a student or a teacher."""

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Mean loss of a batch."""

    def distillation_loss(self, student: Any, teacher: Any, batch: Batch, *, temperature: float) -> Tensor:
        """Mean distance of the student's outputs from the teacher's."""


class ModelObjective:
    """For a model that takes the entries of a batch by name, as those of transformers do.

    Outputs are a tensor of logits, or an object with ``logits`` or with ``start_logits`` and ``end_logits``. Logits
    are distilled as probabilities of classes; those of labels that may hold together (``problem_type`` of the model's
    configuration), as one probability each; a single output, or a regression, as a number.

    Args:
        model: the student.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def outputs(self, model: nn.Module, batch: Batch) -> Any:
        return model(**batch)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The loss that the model has computed from the labels in the batch."""
        loss = getattr(outputs, "loss", None)
        if loss is None:
            raise UserError(
                "the model returns no loss for a training batch; put the labels into the batch as it takes them, or "
                "give the LightningModule a task with the methods of winnow.tasks.objective.Objective."
            )
        return loss  # type: ignore[no-any-return]

    def distillation_loss(self, student: Any, teacher: Any, batch: Batch, *, temperature: float) -> Tensor:
        pairs = list(zip(logits_of(student).items(), logits_of(teacher).values(), strict=False))
        losses = []
        for (name, mine), theirs in pairs:
            if mine.shape != theirs.shape:
                raise UserError(
                    f"the student has outputs of shape {tuple(mine.shape)} and the teacher of shape "
                    f"{tuple(theirs.shape)} for the same batch; use a teacher of the same task."
                )
            losses.append(self._distance(name, mine, theirs, batch, temperature))
        return torch.stack(losses).mean()

    def _distance(self, name: str, mine: Tensor, theirs: Tensor, batch: Batch, temperature: float) -> Tensor:
        attended = batch.get("attention_mask")
        kind = getattr(getattr(self._model, "config", None), "problem_type", None)
        if name in _OVER_TOKENS:
            if attended is not None:
                mine, theirs = (each.masked_fill(~attended.bool(), -1e4) for each in (mine, theirs))
            return distillation_loss(mine, theirs, temperature=temperature)
        if mine.shape[-1] == 1 or kind == "regression":
            return regression_distillation_loss(mine, theirs)
        if kind == "multi_label_classification":
            return binary_distillation_loss(mine, theirs, temperature=temperature)
        if attended is not None and mine.shape[:-1] == attended.shape:
            return distillation_loss(mine, theirs, temperature=temperature, mask=attended.bool())
        return distillation_loss(mine, theirs, temperature=temperature)


def logits_of(outputs: Any) -> dict[str, Tensor]:
    """The logits among the outputs of a model, by name.

    Raises:
        UserError: for outputs without any.
    """
    if isinstance(outputs, Tensor):
        return {"logits": outputs}
    found = {name: _entry(outputs, name) for name in (*_PER_TEXT_OR_TOKEN, *_OVER_TOKENS)}
    logits = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not logits:
        raise UserError(
            f"a {type(outputs).__name__} has no logits to learn from: the model must return a tensor, or an object or "
            "a mapping with 'logits', or with 'start_logits' and 'end_logits'."
        )
    return logits


def _entry(outputs: Any, name: str) -> Any:
    return outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
