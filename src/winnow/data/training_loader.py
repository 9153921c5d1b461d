"""The loader of training batches: a resumed run continues in mid-epoch and draws the same random numbers."""

import itertools
import signal
from collections.abc import Iterator

import datasets
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from winnow.data.batch import Batch, Collator
from winnow.data.batching import LengthGroupedBatches


class TrainingLoader(DataLoader[Batch]):
    """Batches in the order of a sampler. Each batch has its own random seed, from the seed, the epoch and its rows.

    So the batches depend neither on the number of workers nor on earlier random numbers, and torch's global generator
    is not used. ``row`` holds the index of each row of the batch among the examples, ``(batch,)``.

    Args:
        rows: encoded examples.
        batches: the row indices of each batch.
        collate: turns rows into a batch.
        num_workers: loader processes.
    """

    def __init__(
        self, rows: datasets.Dataset, batches: LengthGroupedBatches, collate: Collator, num_workers: int = 0
    ) -> None:
        super().__init__(
            _SeededBatchDataset(rows, collate),
            sampler=_SeededBatches(batches),
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=outlive_signals,
            generator=torch.Generator(),
        )
        self._taken = self._start = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch declares its private iterator class
        # The body runs at the first batch. By then Lightning has set the epoch of the sampler; after a resume it
        # requests the iterator before that.
        assert isinstance(self.sampler, _SeededBatches)
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


def outlive_signals(worker: int) -> None:
    """Ignore signals that stop a training: all processes may get them, and it needs its loader until it has saved."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


class _SeededBatches(Sampler[tuple[int, list[int]]]):
    """(seed, row indices) of each batch, from batch ``start`` on."""

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


class _SeededBatchDataset(Dataset[Batch]):
    """Maps (seed, row indices) to a batch."""

    def __init__(self, rows: datasets.Dataset, collate: Collator) -> None:
        self.rows = rows
        self.collate = collate

    def __getitem__(self, index: tuple[int, list[int]]) -> dict[str, Tensor]:
        seed, rows = index
        with torch.random.fork_rng(devices=()):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPU too
            return {**self.collate(self.rows[rows]), "row": torch.tensor(rows)}
