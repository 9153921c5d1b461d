"""What a model says of a text, the same to the bit whatever other texts are in the batch."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from src.tasks.base import MODEL_INPUTS

# How a matrix product is added up depends on the numbers of its rows and columns, and on which rows a thread gets; with
# multiples of these it does not.
_LENGTHS = 8  # a text is padded to the next multiple, and no further
_ROWS = 8  # texts are filled up to the next multiple with copies of one of them


@torch.no_grad()
def outputs_by_length(model: nn.Module, task: Any, batch: Mapping[str, Tensor]) -> SimpleNamespace:
    """A model's outputs for a batch, from a forward pass for the texts of each length.

    Args:
        model: in evaluation mode, with a configuration of transformers.
        task: says how a model is asked, and what it puts out.
        batch: padded on the right.

    Returns:
        The task's outputs in float32, ``(batch, ...)``; where there is one for each token ``(batch, seq, ...)``, zero
        for padding.
    """
    mask = batch["attention_mask"]  # (batch, seq)
    lengths = mask.sum(dim=1)
    padded = (lengths + -lengths % _LENGTHS).clamp(max=model.config.max_position_embeddings)
    said: dict[str, Tensor] = {}
    for length in padded.unique().tolist():
        rows = (padded == length).nonzero().squeeze(1)
        filled = torch.cat([rows, rows[:1].expand(-len(rows) % _ROWS)])
        fill = {"input_ids": model.config.pad_token_id or 0}
        part = {
            name: _of_width(batch[name][filled], length, fill.get(name, 0)) for name in MODEL_INPUTS if name in batch
        }
        outputs = task.outputs(model, part)
        for name in task.output_names:
            values = getattr(outputs, name)[: len(rows)].float()
            if task.outputs_per_token:
                values = _of_width(values, mask.shape[1])
            said.setdefault(name, values.new_zeros(len(lengths), *values.shape[1:]))[rows] = values
    if task.outputs_per_token:
        for values in said.values():
            values[mask == 0] = 0.0
    return SimpleNamespace(**said)


def _of_width(values: Tensor, width: int, fill: int = 0) -> Tensor:
    """``(rows, any, ...)`` cut or filled up to ``(rows, width, ...)``."""
    result = values.new_full((len(values), width, *values.shape[2:]), fill)
    kept = min(width, values.shape[1])
    result[:, :kept] = values[:, :kept]
    return result
