"""Batches of texts of similar length, in an order that depends only on the seed and the epoch."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler

from winnow.data.batch import Columns
from winnow.data.padding import padded
from winnow.errors import UserError

# Texts are sorted by length within groups of this many batches: little padding, and the order stays random.
_BATCHES_PER_GROUP = 50


class LengthGroupedBatches(Sampler[list[int]]):
    """Index lists for a loader with ``batch_size=None``: shuffled, grouped by length, shuffled again.

    Each rank of a data-parallel run gets every ``world_size``-th batch. The first batches are repeated at the end so
    that all ranks take the same number of steps.

    Args:
        lengths: number of tokens of each example.
        batch_size: examples in a batch; the last batch of an epoch may be smaller.
        seed: determines the order together with the epoch.
        drop_last: leave out a smaller last batch; other examples are left out in each epoch.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if drop_last and len(lengths) < batch_size:
            raise UserError(
                f"task.data.drop_last=true leaves no batch: there are {len(lengths):,} training examples, fewer than "
                f"task.data.batch_size={batch_size}; lower the batch size or set task.data.drop_last=false."
            )
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:  # called by Lightning at the start of each epoch
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.lengths), self.batch_size)
        batches = whole if self.drop_last or not rest else whole + 1
        return -(-batches // self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        batches: list[list[int]] = []
        for group in torch.split(order, self.batch_size * _BATCHES_PER_GROUP):
            by_length = group[self.lengths[group].argsort(descending=True, stable=True)]
            batches += [batch.tolist() for batch in torch.split(by_length, self.batch_size)]
        if self.drop_last:
            batches = [batch for batch in batches if len(batch) == self.batch_size]
        shuffled = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
        dealt = itertools.islice(itertools.cycle(shuffled), len(self) * self.world_size)
        return itertools.islice(dealt, self.rank, None, self.world_size)


class SortedBatches(Sampler[list[int]]):
    """Index lists for evaluation: every example once, longest first; rank r gets every ``world_size``-th example."""

    def __init__(self, lengths: Sequence[int], batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        order = torch.as_tensor(lengths).argsort(descending=True, stable=True)
        self.batches: list[list[int]] = [batch.tolist() for batch in torch.split(order[rank::world_size], batch_size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


def batches_of_tokens(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Index lists of every example once, longest first; they depend only on the lengths.

    Args:
        lengths: number of tokens of each example.
        max_tokens: limit for a batch padded to its longest text; a longer example gets its own batch.
    """
    order: list[int] = torch.as_tensor(lengths).argsort(descending=True, stable=True).tolist()
    first = 0
    while first < len(order):
        size = max(1, max_tokens // int(lengths[order[first]]))
        yield order[first : first + size]
        first += size


def pad_batch(rows: Columns, padding_values: Mapping[str, int], multiple: int = 1) -> dict[str, Tensor]:
    """Build one tensor for each column; the arguments and shapes are those of `winnow.data.padding.pad_arrays`."""
    return {
        column: torch.from_numpy(padded(values, padding_values[column], multiple))
        if column in padding_values
        else torch.tensor(values)
        for column, values in rows.items()
    }
