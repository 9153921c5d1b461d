"""Real inputs of a run in batches of many sizes and lengths, on which an exported graph is verified."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from winnow.config.task import Data
from winnow.data.batching import pad_batch
from winnow.data.splits import arrange_splits, load_splits
from winnow.errors import UserError
from winnow.tasks.task import Task

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_SIZES = (1, 2, 4, 8, 16, 32)
_ENOUGH = 200  # inputs; training examples are added to a smaller validation split

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Samples:
    """Inputs of a task.

    Args:
        task: prepared.
        split: the validation examples.
        name: of the split.
        batches: the inputs of the split.
        unscored: further inputs, from the training split, that do not count for the metrics.
        batch_size: of the graph if that is fixed, else None.
    """

    task: Task
    split: Dataset
    name: str
    batches: list[Batch]
    unscored: list[Batch]
    batch_size: int | None = None

    @property
    def inputs(self) -> list[str]:
        return [name for name in INPUTS if name in self.batches[0]]

    @property
    def count(self) -> int:
        """The number of inputs."""
        return sum(len(batch["input_ids"]) for batch in [*self.batches, *self.unscored])

    @property
    def longest(self) -> int:
        """Tokens of the longest padded input."""
        return max(batch["input_ids"].shape[1] for batch in [*self.batches, *self.unscored])

    def shapes(self) -> dict[str, Any]:
        """The section of verification.json on the inputs; lengths in tokens, with special ones and without padding."""
        batches = [*self.batches, *self.unscored]
        lengths = torch.cat([batch["attention_mask"].sum(dim=1) for batch in batches])
        return {
            "split": self.name,
            "texts": list(self.task.input_fields),
            "examples": len(self.split),
            "inputs": self.count,
            "of_training": sum(len(batch["input_ids"]) for batch in self.unscored),
            "lengths": [int(lengths.min()), int(lengths.max())],
            "batch_sizes": sorted({len(batch["input_ids"]) for batch in batches}),
        }


def real_inputs(
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    data: Data,
    *,
    limit: int,
    batch_size: int | None = None,
    sequence_length: int | None = None,
) -> Samples:
    """Inputs from the first validation split, the same in every call.

    Args:
        task: as built from its configuration; prepared here.
        tokenizer: of the model.
        data: the ``task.data`` section.
        limit: the largest number of examples.
        batch_size: of every batch; None for many sizes.
        sequence_length: tokens to which every input is padded; None for the longest of its batch.
    """
    limit = min(limit, data.max_eval_samples or limit)
    splits = arrange_splits(task.prepare(load_splits(data)), data.model_copy(update={"max_eval_samples": limit}))
    if sequence_length is not None:
        task.max_length = min(task.max_length, sequence_length)
    name = next(name for name in splits if name != "train")
    sizes = (batch_size,) if batch_size is not None else _SIZES

    def batches(split: Dataset) -> list[Batch]:
        rows = task.encode(split, tokenizer, training=False)
        order = torch.as_tensor(rows.with_format("numpy")["length"][:]).argsort(stable=True)
        rows, fill = rows.remove_columns("length"), task.padding_values(tokenizer)
        return [pad_batch(rows[part], fill, sequence_length or 1) for part in _parts(order.tolist(), sizes)]

    scored = batches(splits[name])
    missing = _ENOUGH - sum(len(batch["input_ids"]) for batch in scored)
    train = splits["train"]
    unscored = batches(train.select(range(min(missing, len(train))))) if missing > 0 else []
    return Samples(task, splits[name], name, scored, unscored, batch_size)


def fill_batch(batch: Mapping[str, Tensor], names: Sequence[str], batch_size: int | None) -> Batch:
    """The named inputs of a batch; its last row is repeated up to the fixed batch size of a graph."""
    missing = (batch_size or 0) - len(batch["input_ids"])
    if missing <= 0:
        return {name: batch[name] for name in names}
    return {name: torch.cat([batch[name], batch[name][-1:].expand(missing, -1)]) for name in names}


def _parts(rows: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Consecutive parts, with sizes in turn."""
    start = 0
    for size in cycle(sizes):
        if start >= len(rows):
            return
        yield list(rows[start : start + size])
        start += size


def check_labels(task: Task, id2label: Mapping[int, str] | Mapping[str, str] | None) -> None:
    """Refuse data with other labels than the model.

    Args:
        task: prepared.
        id2label: of the model's configuration.
    """
    names = {int(number): str(name) for number, name in (id2label or {}).items()}
    expected = [names[i] for i in range(len(names))]
    if task.labels and task.labels != expected:
        raise UserError(
            f"export.data: the data have the labels {_first(task.labels)}, but the model has {_first(expected)}; name "
            "the data on which the run was trained."
        )


def _first(labels: Sequence[str]) -> str:
    return ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")
