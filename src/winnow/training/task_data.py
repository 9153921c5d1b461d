"""The Lightning data module: encodes each split with the task and loads padded batches."""

from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from winnow.data.batch import Batch
from winnow.data.batching import LengthGroupedBatches, SortedBatches
from winnow.data.places import place_of
from winnow.data.training_loader import TrainingLoader, outlive_signals
from winnow.tasks.task import Task
from winnow.text import truncated

_DESCRIBED, _NUMBERED = 3, 16  # rows of a batch in a message: with their texts; by number at all


class TaskData(pl.LightningDataModule):
    """The splits of one task as loaders; no task is known by name here.

    Args:
        task: encodes a split (``encode``) and pads a batch (``collator``).
        splits: ``train``, the validation splits under their own names, and ``test`` if it has labels.
        tokenizer: of the student; the teacher uses the same.
        batch_size: training examples per batch and device.
        eval_batch_size: evaluation examples per batch and device.
        num_workers: loader processes.
        seed: seed of the order of training batches.
        drop_last: leave out a smaller last training batch.
    """

    def __init__(
        self,
        *,
        task: Task,
        splits: Mapping[str, Dataset],
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        self.task = task
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.drop_last = drop_last
        self.splits = splits
        self.encoded = {name: task.encode(split, tokenizer, training=name == "train") for name, split in splits.items()}
        self.validation = {name: split for name, split in splits.items() if name not in ("train", "test")}

    def train_dataloader(self) -> TrainingLoader:
        batches = LengthGroupedBatches(
            self.lengths("train"), self.batch_size, seed=self.seed, drop_last=self.drop_last, **self._ranks()
        )
        rows = self.encoded["train"].remove_columns("length")
        return TrainingLoader(rows, batches, self.task.collator(self.tokenizer), self.num_workers)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        return [self.eval_dataloader(name, **self._ranks()) for name in self.validation]

    def eval_dataloader(self, name: str, rank: int = 0, world_size: int = 1) -> DataLoader[Batch]:
        """Every example of one split once, longest first, distributed over ``world_size`` processes."""
        batches = SortedBatches(self.lengths(name), self.eval_batch_size, rank=rank, world_size=world_size)
        return DataLoader(
            self.encoded[name].remove_columns("length"),
            sampler=batches,
            batch_size=None,
            collate_fn=self.task.collator(self.tokenizer),  # type: ignore[arg-type]  # without batch_size: columns, no list
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=outlive_signals,
            generator=torch.Generator(),  # else each pass would draw a number from torch's global generator
        )

    def lengths(self, name: str) -> Sequence[int]:
        """Tokens of each example of a split."""
        lengths: Sequence[int] = self.encoded[name].with_format("numpy")["length"][:]  # minutes if read row by row
        return lengths

    def described_rows(self, rows: Sequence[int]) -> str:
        """Training examples by the place or the number of their rows, the first with the beginning of their texts.

        Args:
            rows: indices of encoded examples. Where a row may have several windows, the windows are numbered.
        """
        encoded, split = self.encoded["train"], self.splits["train"]
        whole = len(encoded) == len(split)

        def place(row: int) -> str:
            return place_of(split, "train", row) if whole else f"training window {row + 1}"

        first, rest = rows[:_DESCRIBED], [f"{row + 1}" for row in rows[_DESCRIBED:_NUMBERED]]
        texts = [self.tokenizer.decode(encoded[row]["input_ids"], skip_special_tokens=True) for row in first]
        shown = [f"{place(row)} {truncated(str(text), 50)!r}" for row, text in zip(first, texts, strict=True)]
        more = f"; others are {'rows' if whole else 'windows'} {', '.join(rest)}" if rest else ""
        return "; ".join(shown) + more + (", ..." if len(rows) > _NUMBERED else "")

    def _ranks(self) -> dict[str, int]:
        if self.trainer is None:
            return {}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
