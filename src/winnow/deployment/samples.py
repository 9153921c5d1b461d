"""Real inputs of a run, in batches of many sizes and lengths: what an exported graph is verified on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from winnow.config.task import Data
from winnow.data.padding import pad_batch
from winnow.data.splits import arrange_splits, load_splits
from winnow.errors import UserError

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_SIZES = (1, 2, 4, 8, 16, 32)
_ENOUGH = 200  # inputs; where the validation split has fewer, training examples join it

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Samples:
    """Inputs of a task.

    Args:
        task: prepared.
        split: the validation examples.
        name: of the split.
        batches: the inputs of all of them.
        further: inputs without a part in the metrics.
        batch_size: that the graph is fixed to, or None.
    """

    task: Any
    split: Dataset
    name: str
    batches: list[Batch]
    further: list[Batch]
    batch_size: int | None = None

    @property
    def inputs(self) -> list[str]:
        return [name for name in INPUTS if name in self.batches[0]]

    @property
    def count(self) -> int:
        """Of the inputs."""
        return sum(len(batch["input_ids"]) for batch in [*self.batches, *self.further])

    @property
    def longest(self) -> int:
        """Tokens of the longest input, or those of the graph where they are fixed."""
        return max(batch["input_ids"].shape[1] for batch in [*self.batches, *self.further])

    def shapes(self) -> dict[str, Any]:
        """What verification.json says of them; lengths in tokens, with special ones and without padding."""
        batches = [*self.batches, *self.further]
        lengths = torch.cat([batch["attention_mask"].sum(dim=1) for batch in batches])
        return {
            "split": self.name,
            "texts": list(self.task.input_fields),
            "examples": len(self.split),
            "inputs": self.count,
            "of_training": sum(len(batch["input_ids"]) for batch in self.further),
            "lengths": [int(lengths.min()), int(lengths.max())],
            "batch_sizes": sorted({len(batch["input_ids"]) for batch in batches}),
        }


def real_inputs(
    task: Any,
    tokenizer: Any,
    data: Data,
    *,
    limit: int,
    batch_size: int | None = None,
    sequence_length: int | None = None,
) -> Samples:
    """The first validation split, or as many of its examples, the same in every call.

    Args:
        task: as its configuration builds it; prepared here.
        tokenizer: of the model.
        data: the ``task.data`` section.
        limit: the most examples.
        batch_size: of every batch; None for many sizes.
        sequence_length: tokens that every input is padded to; None for the longest of its batch.
    """
    most = min(limit, data.max_eval_samples or limit)
    splits = arrange_splits(task.prepare(load_splits(data)), data.model_copy(update={"max_eval_samples": most}))
    if sequence_length is not None:
        task.max_length = min(task.max_length, sequence_length)
    name = next(name for name in splits if name != "train")
    sizes = (batch_size,) if batch_size is not None else _SIZES

    def batches(split: Dataset) -> list[Batch]:
        rows = task.encode(split, tokenizer, training=False)
        order = torch.as_tensor(rows.with_format("numpy")["length"][:]).argsort(stable=True)
        rows, fill = rows.remove_columns("length"), task.padding_values(tokenizer)
        return [pad_batch(rows[part], fill, sequence_length or 1) for part in _cut(order.tolist(), sizes)]

    measured = batches(splits[name])
    missing = _ENOUGH - sum(len(batch["input_ids"]) for batch in measured)
    train = splits["train"]
    further = batches(train.select(range(min(missing, len(train))))) if missing > 0 else []
    return Samples(task, splits[name], name, measured, further, batch_size)


def filled(batch: Batch | Mapping[str, Tensor], names: Sequence[str], batch_size: int | None) -> Batch:
    """Inputs of a batch; one that is smaller than a graph wants gets copies of its last row."""
    missing = (batch_size or 0) - len(batch["input_ids"])
    if missing <= 0:
        return {name: batch[name] for name in names}
    return {name: torch.cat([batch[name], batch[name][-1:].expand(missing, -1)]) for name in names}


def _cut(rows: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Parts whose sizes take turns."""
    start = 0
    for size in cycle(sizes):
        if start >= len(rows):
            return
        yield list(rows[start : start + size])
        start += size


def check_labels(task: Any, names: Mapping[int, str]) -> None:
    """Refuse data whose labels are not those of the model.

    Args:
        task: prepared.
        names: ``id2label`` of the model's configuration.
    """
    theirs = [str(names[i]) for i in range(len(names))]
    if task.labels and task.labels != theirs:
        raise UserError(
            f"export.data: the data have the labels {_few(task.labels)} and the model has {_few(theirs)}; name the "
            "data that the run was trained on."
        )


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")
