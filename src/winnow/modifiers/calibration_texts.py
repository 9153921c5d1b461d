"""The training examples by which modifiers measure a model."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from winnow.errors import UserError

Batch = Mapping[str, Tensor]


def training_batches(trainer: pl.Trainer) -> Iterable[Batch]:
    """Batches of training examples, the same ones whatever the step; the loader of the training goes on untouched."""
    data: Any = getattr(trainer, "datamodule", None)
    batches: Any = trainer.train_dataloader if data is None else data.train_dataloader()
    return cast(Iterable[Batch], batches)


def some_batches(batches: Iterable[Batch], texts: int, tokens: float = math.inf) -> list[Batch]:
    """Whole batches, up to a number of texts and of tokens; at least one.

    Raises:
        UserError: for batches of anything but texts by name, in a training that is not one of `winnow train`.
    """
    found: list[Batch] = []
    for batch in batches:
        if not (isinstance(batch, Mapping) and "input_ids" in batch and "attention_mask" in batch):
            raise UserError(
                "training batches must be mappings with input_ids and attention_mask, by which the model is measured; "
                f"got a {type(batch).__name__}."
            )
        found.append(batch)
        texts -= len(batch["input_ids"])
        tokens -= int(batch["attention_mask"].sum())
        if texts <= 0 or tokens <= 0:
            break
    return found


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout and in float32; afterwards every module is in the mode in which it was."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    with torch.autocast(next(model.parameters()).device.type, enabled=False):
        yield
    for module, mode in training.items():
        module.training = mode
