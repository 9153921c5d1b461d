import time

import pytest
import torch
from datasets import DatasetDict
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import table, toy_data, toy_task
from winnow.data.batching import LengthGroupedBatches, SortedBatches, batches_of_tokens
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError

LENGTHS = st.lists(st.integers(1, 128), min_size=1, max_size=200)


def batches_of(lengths, batch_size, *, seed=1, epoch=0, **ranks):
    sampler = LengthGroupedBatches(lengths, batch_size, seed=seed, **ranks)
    sampler.set_epoch(epoch)
    return list(sampler)


def padding(lengths, batches):
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    return padded / sum(lengths) - 1


@given(LENGTHS, st.integers(1, 40), st.integers(0, 3))
def test_every_example_comes_exactly_once_an_epoch(lengths, batch_size, epoch):
    batches = batches_of(lengths, batch_size, epoch=epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)
    assert len(batches) == -(-len(lengths) // batch_size)


def test_the_order_depends_on_the_seed_and_the_epoch_alone():
    lengths = [3 + i % 7 for i in range(100)]
    first = batches_of(lengths, 8, seed=1, epoch=2)
    torch.manual_seed(99)
    torch.rand(7)
    assert batches_of(lengths, 8, seed=1, epoch=2) == first
    assert batches_of(lengths, 8, seed=1, epoch=3) != first
    assert batches_of(lengths, 8, seed=2, epoch=2) != first


def test_the_order_does_not_use_the_global_random_generator():
    before = torch.get_rng_state()
    batches_of([1, 2, 3, 4], 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_two_seeds_and_epochs_share_an_order():
    lengths = [5] * 64
    orders = [tuple(map(tuple, batches_of(lengths, 4, seed=s, epoch=e))) for s in range(5) for e in range(5)]
    assert len(set(orders)) == 25


def test_batches_of_similar_lengths_need_little_padding():
    lengths = torch.randint(4, 100, (5000,)).tolist()
    assert padding(lengths, batches_of(lengths, 32)) < 0.03
    assert padding(lengths, torch.randperm(5000).split(32)) > 0.5


def test_batches_are_not_ordered_by_length():
    lengths = list(range(1, 1601))
    means = torch.tensor([sum(lengths[i] for i in batch) / len(batch) for batch in batches_of(lengths, 32)])
    ranks = means.argsort().argsort().float()
    correlation = torch.corrcoef(torch.stack([ranks, torch.arange(len(ranks)).float()]))[0, 1]
    assert abs(float(correlation)) < 0.35


@given(LENGTHS, st.integers(1, 40), st.integers(2, 5))
def test_all_ranks_get_the_same_number_of_batches_and_together_all_examples(lengths, batch_size, world_size):
    parts = [batches_of(lengths, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    sampler = LengthGroupedBatches(lengths, batch_size, seed=1, world_size=world_size)
    assert {len(part) for part in parts} == {len(sampler)}
    assert {i for part in parts for batch in part for i in batch} == set(range(len(lengths)))


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_see_disjoint_examples_where_the_batches_divide_evenly(world_size):
    parts = [batches_of([7] * 96, 8, rank=rank, world_size=world_size) for rank in range(world_size)]
    seen = [i for part in parts for batch in part for i in batch]
    assert sorted(seen) == list(range(96))


def test_only_the_missing_batches_are_repeated_if_they_do_not_divide_evenly():
    parts = [batches_of([7] * 40, 8, rank=rank, world_size=2) for rank in range(2)]  # 5 batches for 2 ranks
    seen = [i for part in parts for batch in part for i in batch]
    assert len(seen) == 48
    assert set(seen) == set(range(40))


def test_there_may_be_more_ranks_than_batches():
    parts = [batches_of([7] * 4, 4, rank=rank, world_size=3) for rank in range(3)]
    assert [len(part) for part in parts] == [1, 1, 1]


@given(LENGTHS, st.integers(1, 40), st.integers(1, 3))
def test_evaluation_takes_every_example_once_longest_first(lengths, batch_size, world_size):
    ranks = [SortedBatches(lengths, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    parts = [list(part) for part in ranks]
    assert [len(part) for part in ranks] == [len(part) for part in parts]
    assert sorted(i for part in parts for batch in part for i in batch) == list(range(len(lengths)))
    for part in parts:
        in_order = [lengths[i] for batch in part for i in batch]
        assert in_order == sorted(in_order, reverse=True)


def test_a_loaded_batch_is_padded_to_its_longest_text_and_masks_its_padding():
    data = toy_data(rows=40, batch_size=8)
    seen = 0
    for batch in data.train_dataloader():
        assert set(batch) == {"input_ids", "token_type_ids", "attention_mask", "labels", "row"}
        longest = int(batch["attention_mask"].sum(dim=1).max())
        assert longest <= batch["input_ids"].shape[1] < longest + 8
        assert torch.equal(batch["input_ids"] != data.tokenizer.pad_token_id, batch["attention_mask"].bool())
        seen += len(batch["labels"])
    assert seen == 40


@pytest.mark.parametrize(("has_gpu", "width"), [(True, 8), (False, 5)])
def test_the_width_of_a_batch_is_a_multiple_of_8_with_a_gpu(monkeypatch, has_gpu, width):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    tokenizer = tiny_tokenizer()
    encoded = tokenizer(["the plot was", "good"])
    rows = {**encoded, "labels": [0, 1]}
    batch = toy_task().collator(tokenizer)(rows)
    assert {name: tuple(values.shape) for name, values in batch.items()} == {
        "input_ids": (2, width), "token_type_ids": (2, width), "attention_mask": (2, width), "labels": (2,),
    }  # fmt: skip


def test_the_lengths_of_many_rows_are_read_at_once():
    data = toy_data(rows=2000)
    started = time.process_time()
    for _ in range(20):
        data.train_dataloader()
    assert time.process_time() - started < 1  # row by row it would take two seconds and more


def test_texts_longer_than_the_limit_are_truncated():
    task = toy_task(max_length=8)
    splits = task.prepare(DatasetDict({"train": table(["the plot was bad " * 9, "good"], ["x", "y"])}))
    assert task.encode(splits["train"], tiny_tokenizer(), training=True)["length"] == [8, 3]


@given(st.lists(st.integers(1, 128), min_size=8, max_size=900), st.integers(1, 8), st.integers(1, 3))
def test_a_smaller_last_batch_can_be_left_out(lengths, batch_size, world_size):
    parts = [batches_of(lengths, batch_size, drop_last=True, rank=r, world_size=world_size) for r in range(world_size)]
    assert {len(batch) for part in parts for batch in part} == {batch_size}
    whole = len(lengths) // batch_size
    assert {len(part) for part in parts} == {-(-whole // world_size)}
    assert len({i for part in parts for batch in part for i in batch}) == whole * batch_size


def test_other_examples_are_left_out_in_each_epoch():
    left_out = [
        set(range(20)) - {i for batch in batches_of([5] * 20, 8, drop_last=True, epoch=e) for i in batch}
        for e in range(5)
    ]
    assert {len(rows) for rows in left_out} == {4}
    assert len(set(map(frozenset, left_out))) == 5


def test_leaving_out_the_only_batch_is_refused():
    assert len(batches_of([5] * 8, 8, drop_last=True)) == 1
    with pytest.raises(UserError, match=r"drop_last=true leaves no batch: there are 7 training examples, fewer than"):
        toy_data(rows=7, batch_size=8, drop_last=True).train_dataloader()


def test_batches_of_tokens_hold_every_example_once_within_the_limit():
    assert list(batches_of_tokens([3, 9, 4, 3, 12], 10)) == [[4], [1], [2, 0], [3]]


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 100))
def test_batches_of_tokens_are_full(lengths, max_tokens):
    batches = list(batches_of_tokens(lengths, max_tokens))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    sizes = [len(batch) * lengths[batch[0]] for batch in batches]
    assert all(size <= max_tokens or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))
    assert all(size + lengths[batch[0]] > max_tokens for size, batch in zip(sizes[:-1], batches, strict=False))
