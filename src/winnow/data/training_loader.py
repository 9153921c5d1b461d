"""The loader of training batches: a resumed run takes it up in mid-epoch and draws the same random numbers."""

import itertools
import signal
from collections.abc import Callable, Iterator
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler

from winnow.data.batching import LengthGroupedBatches


class TrainingLoader(DataLoader):
    """Batches in the order of a sampler; what is random in one depends on the seed, the epoch and its rows alone.

    So neither the number of workers matters nor what was drawn before, and nothing is drawn from torch's own
    generator. ``row`` says where the rows of a batch stand among the examples, ``(batch,)``.

    Args:
        rows: encoded examples.
        batches: which rows make up a batch.
        collate: a batch from its rows.
        num_workers: loader processes.
    """

    def __init__(
        self, rows: Dataset, batches: LengthGroupedBatches, collate: Callable[[Any], Any], num_workers: int = 0
    ) -> None:
        super().__init__(
            _Batches(rows, collate),
            sampler=_SeededBatches(batches),
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=outlive_sigterm,
            generator=torch.Generator(),
        )
        self._taken = self._start = 0

    def __iter__(self) -> Iterator[Any]:
        # A generator begins with its first batch. By then Lightning has told the sampler the right epoch, which after
        # a resume it has not when it asks for the iterator.
        self._taken, self._start = self._start, 0
        self.sampler.start = self._taken
        for batch in super().__iter__():
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"taken": self._taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin the next epoch after its first ``taken`` batches."""
        self._start = state["taken"]


def outlive_sigterm(worker: int) -> None:
    """A cluster stops all processes at once; the loader's must work on until the training has saved itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _SeededBatches(Sampler[tuple[int, list[int]]]):
    """A seed beside the rows of each batch."""

    def __init__(self, batches: LengthGroupedBatches) -> None:
        self.batches = batches
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        self.batches.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        for rows in itertools.islice(self.batches, self.start, None):
            yield hash((self.batches.seed, self.batches.epoch, *rows)), rows


class _Batches:
    """The batch of a seed and rows."""

    def __init__(self, rows: Dataset, collate: Callable[[Any], Any]) -> None:
        self.rows = rows
        self.collate = collate

    def __getitem__(self, index: tuple[int, list[int]]) -> Any:
        seed, rows = index
        with torch.random.fork_rng(devices=()):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPU too
            return {**self.collate(self.rows[rows]), "row": torch.tensor(rows)}
