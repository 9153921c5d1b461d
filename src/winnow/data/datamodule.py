"""The Lightning data module: encodes each split once through the task and serves padded batches."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from winnow.data.batching import LengthGroupedBatches, SortedBatches
from winnow.data.training_loader import TrainingLoader, outlive_sigterm


class TaskData(pl.LightningDataModule):
    """Splits of one task as loaders; it knows no task by name.

    Args:
        task: encodes a split (``encode``) and pads a batch (``collator``).
        splits: ``train``, the validation splits by their own names, and ``test`` where there are labels.
        tokenizer: of the student; the teacher's is the same.
        batch_size: training examples a batch and device.
        eval_batch_size: evaluation examples a batch and device.
        num_workers: loader processes.
        seed: of the order of training batches.
        drop_last: leave out a last training batch that is smaller.
    """

    def __init__(
        self,
        *,
        task: Any,
        splits: Mapping[str, Dataset],
        tokenizer: Any,
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

    def val_dataloader(self) -> list[DataLoader]:
        return [self.eval_dataloader(name, **self._ranks()) for name in self.validation]

    def eval_dataloader(self, name: str, rank: int = 0, world_size: int = 1) -> DataLoader:
        """Every example of one split once, longest first, dealt out to ``world_size`` processes."""
        batches = SortedBatches(self.lengths(name), self.eval_batch_size, rank=rank, world_size=world_size)
        return DataLoader(
            self.encoded[name].remove_columns("length"),
            sampler=batches,
            batch_size=None,
            collate_fn=self.task.collator(self.tokenizer),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=outlive_sigterm,
            generator=torch.Generator(),  # else each pass would draw a number from torch's own
        )

    def lengths(self, name: str) -> Sequence[int]:
        return self.encoded[name].with_format("numpy")["length"][:]  # row by row it would take minutes

    def _ranks(self) -> dict[str, int]:
        if self.trainer is None:
            return {}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
