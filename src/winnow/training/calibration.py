"""Recipes of 0 epochs: their modifiers change a model without training."""

import time
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from winnow.errors import UserError
from winnow.modifiers.clock import Clock
from winnow.modifiers.modifier import Modifier, recorded_events
from winnow.training.task_data import TaskData


def apply_without_training(
    modifiers: Sequence[Modifier], model: PreTrainedModel, data: TaskData, clock: Clock
) -> tuple[float, list[dict[str, Any]]]:
    """Apply modifiers to a model in place, with training examples in the order of a training.

    Returns:
        Seconds, and the events as a training records them.

    Raises:
        UserError: if the model is not trained for the task.
    """
    if model.new_head:
        raise UserError(
            "the model has no head that was trained for this task, and a recipe of 0 epochs does not train one; "
            "name a finished run with model.name=FOLDER, and its task."
        )
    began = time.monotonic()
    model.train(False)
    for modifier in modifiers:
        modifier.match(model)
        modifier.begin(clock)
        modifier.calibrate(model, data.task, data.train_dataloader())
    return time.monotonic() - began, recorded_events(modifiers)
