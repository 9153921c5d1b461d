"""Recipes of 0 epochs: their modifiers change a model without training."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from winnow.config.run import RunConfig
from winnow.data.batch import Batch
from winnow.data.batching import LengthGroupedBatches, pad_batch
from winnow.data.places import PLACE
from winnow.data.splits import unlabelled_rows
from winnow.deployment.rows import RowFormat, checked_rows
from winnow.errors import UserError
from winnow.modifiers.clock import Clock
from winnow.modifiers.modifier import Modifier, recorded_events
from winnow.tasks.predictor import Row
from winnow.tasks.task import MODEL_INPUTS, Task
from winnow.training.task_data import TaskData


def calibration_texts(config: RunConfig, task: Task) -> dict[str, list[Row]]:
    """The texts of the files that modifiers are calibrated on, by the key of the modifier.

    Of a file with more rows than the modifier takes, random ones by the seed of the run; rows without text do not
    count.

    Raises:
        UserError: for a file that cannot be read as rows of the task, and for a task without a head to deploy.
    """
    texts: dict[str, list[Row]] = {}
    for name, file in config.recipe.calibration_files.items():
        setting = f"recipe.{name}.calibration={file}"
        if not task.output_names:
            raise UserError(f"{setting} has no effect on task={task.name}, which cannot be deployed; leave it out.")
        rows = unlabelled_rows(Path(file), config.task.data, f"file {file}")
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(config.seed)).tolist()
        wanted = getattr(config.recipe.modifiers[name], "calibration_samples", len(order))
        located = ((row[PLACE], row) for row in rows.select(order[:wanted]))
        texts[name] = [row.texts for row in checked_rows(located, RowFormat.of(task, drop_empty=True))]
        if not texts[name]:
            raise UserError(f"{setting}: the file has no rows with text; name another file.")
    return texts


def apply_without_training(
    modifiers: Sequence[Modifier],
    model: PreTrainedModel,
    data: TaskData,
    clock: Clock,
    calibration: Mapping[str, Sequence[Row]],
) -> tuple[float, list[dict[str, Any]]]:
    """Apply modifiers to a model in place, with training examples in the order of a training.

    Args:
        calibration: as `calibration_texts` returns it; these modifiers get batches of these texts instead.

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
        texts = calibration.get(modifier.name)
        modifier.calibrate(model, data.task, _batches(texts, data) if texts else data.train_dataloader())
    return time.monotonic() - began, recorded_events(modifiers)


def _batches(texts: Sequence[Row], data: TaskData) -> Iterator[Batch]:
    """Padded batches of texts of similar length."""
    encoded = data.task.encode_inputs(texts, data.tokenizer)
    columns = {name: encoded[name] for name in MODEL_INPUTS if name in encoded}
    padding = data.task.padding_values(data.tokenizer)
    for rows in LengthGroupedBatches(encoded["length"], data.batch_size, seed=data.seed):
        yield pad_batch({name: [values[i] for i in rows] for name, values in columns.items()}, padding)
