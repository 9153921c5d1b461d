import random

import pytest
import torch
from datasets import Dataset

from winnow.data.batching import LengthGroupedBatches
from winnow.data.training_loader import TrainingLoader


def loader(workers=0, rows=40, collate=None):
    dataset = Dataset.from_dict({"row": range(rows)})
    return TrainingLoader(
        dataset, LengthGroupedBatches([5] * rows, 8, seed=1), collate or with_a_random_number, num_workers=workers
    )


def with_a_random_number(rows):
    return {"row": torch.tensor(rows["row"]), "drawn": torch.rand(1)}


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    return [(batch["row"].tolist(), float(batch["drawn"])) for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_continues_after_the_batches_already_taken(workers):
    first = loader(workers)
    epochs = [epoch(first, 0), epoch(first, 1)]
    second = loader(workers)
    second.load_state_dict({"taken": 3})
    assert epoch(second, 0) == epochs[0][3:]
    assert epoch(second, 1) == epochs[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_state_counts_batches_used_by_training_and_not_prefetched_ones(workers):
    first = loader(workers)
    batches = iter(first)
    next(batches), next(batches)
    assert first.state_dict() == {"taken": 2}
    second = loader()
    second.load_state_dict(first.state_dict())
    batches = iter(second)
    next(batches)
    assert second.state_dict() == {"taken": 3}


def test_the_epoch_may_be_set_after_the_iterator_was_requested():
    first = loader()
    batches = iter(first)
    first.sampler.set_epoch(2)
    assert [batch["row"].tolist() for batch in batches] == [rows for rows, _ in epoch(loader(), 2)]


def test_random_numbers_of_a_batch_depend_only_on_the_epoch_and_its_rows():
    expected = epoch(loader(), 0)
    torch.manual_seed(99)
    random.seed(99)
    assert epoch(loader(workers=2), 0) == epoch(loader(workers=1), 0) == expected
    one_batch = {number: epoch(loader(rows=8), number)[0][1] for number in range(3)}
    assert len(set(one_batch.values())) == 3


def test_a_loader_does_not_use_the_global_random_generator():
    before = torch.get_rng_state()
    epoch(loader(), 0)
    epoch(loader(workers=2), 0)
    assert torch.equal(torch.get_rng_state(), before)
