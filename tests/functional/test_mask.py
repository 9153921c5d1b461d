import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.functional import mask as mask_module
from src.functional.mask import (
    count_zeros,
    global_magnitude_masks,
    keep_largest,
    magnitude_mask,
    magnitude_masks,
    pack_mask,
    unpack_mask,
    zeros_count,
)

LARGE = 3 * 16384 + 5  # beyond the size from which keep_largest samples


@pytest.mark.parametrize(
    ("numel", "sparsity", "zeros"),
    [
        (768 * 768, 0.8, 471_859),
        (3072 * 768, 0.8, 1_887_437),
        (2 * 768, 0.8, 1_229),
        (10, 0.25, 2),
        (10, 0.35, 4),
        (10, 0.05, 0),
        (10, 0.15, 2),
        (10, 0.0, 0),
        (1, 0.8, 1),
    ],
)
def test_the_number_of_zeros_is_rounded_half_to_even(numel, sparsity, zeros):
    assert zeros_count(numel, sparsity) == zeros


def test_bert_base_at_80_percent_has_the_published_number_of_zeros():
    matrices = 12 * [768 * 768] * 4 + 12 * [3072 * 768] * 2
    assert len(matrices) == 72
    assert sum(zeros_count(numel, 0.8) for numel in matrices) == 67_947_720


@pytest.mark.parametrize("shape", [(7, 9), (768, 2), (130, 131), (300, 200)])
@pytest.mark.parametrize("sparsity", [0.0, 0.01, 0.5, 0.8, 0.97, 0.999])
def test_a_mask_prunes_exactly_the_smallest_magnitudes(shape, sparsity):
    weight = torch.randn(shape)
    mask = magnitude_mask(weight, sparsity)
    zeros = zeros_count(weight.numel(), sparsity)
    assert mask.dtype == torch.bool
    assert mask.shape == weight.shape
    assert int((~mask).sum()) == zeros
    if 0 < zeros < weight.numel():
        assert weight.abs()[~mask].max() < weight.abs()[mask].min()


def test_of_equal_magnitudes_at_the_threshold_the_first_are_kept():
    weight = torch.tensor([1.0, 2.0, 2.0, 2.0, 2.0, 3.0])
    assert magnitude_mask(weight, 0.5).tolist() == [False, True, True, False, False, True]


def test_the_sign_of_a_weight_does_not_count():
    weight = torch.tensor([-3.0, 1.0, -1.0, 2.0])
    assert magnitude_mask(weight, 0.5).tolist() == [True, False, False, True]


@pytest.mark.parametrize("numel", [10, 1000, LARGE])
def test_a_constant_matrix_keeps_its_first_weights(numel):
    mask = magnitude_mask(torch.full((numel,), 0.5), 0.8)
    kept = numel - zeros_count(numel, 0.8)
    assert mask[:kept].all()
    assert not mask[kept:].any()


@given(
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=60),
    st.floats(0, 0.999),
)
def test_a_mask_of_many_ties_has_exactly_the_zeros_asked_for_or_those_that_were_there(values, sparsity):
    weight = torch.tensor(values)
    there = int((weight == 0).sum())
    assert int((~magnitude_mask(weight, sparsity)).sum()) == max(there, zeros_count(len(values), sparsity))


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=60), st.floats(0, 0.9), st.floats(0, 0.999))
def test_a_renewed_mask_never_unprunes(values, first, second):
    weight = torch.tensor(values)
    pruned = weight * magnitude_mask(weight, first)
    assert not magnitude_mask(pruned, second)[pruned == 0].any()


def test_a_matrix_sparser_than_asked_stays_as_sparse_as_it_is():
    """SparseML re-grows such zeros; here a renewed mask keeps them."""
    weight = torch.randn(100)
    weight[:90] = 0.0
    mask = magnitude_mask(weight, 0.5)
    assert mask.tolist() == [False] * 90 + [True] * 10
    assert magnitude_mask(weight, 0.0).tolist() == mask.tolist()


def test_everything_can_be_pruned_but_no_more():
    assert not keep_largest([torch.rand(5)], 5)[0].any()


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_a_global_mask_is_the_mask_of_all_weights_in_one_row(sparsity):
    weights = [torch.randn(20, 30), 10 * torch.randn(7, 5), 0.1 * torch.randn(200)]
    masks = global_magnitude_masks(weights, sparsity)
    joined = magnitude_mask(torch.cat([w.flatten() for w in weights]), sparsity)
    assert [m.shape for m in masks] == [w.shape for w in weights]
    assert torch.equal(torch.cat([m.flatten() for m in masks]), joined)


def test_a_global_threshold_prunes_the_matrix_of_small_weights_first():
    small, large = global_magnitude_masks([torch.rand(50) * 0.1, torch.rand(50) + 1.0], 0.5)
    assert not small.any()
    assert large.all()


def test_masking_leaves_the_weight_as_it_was():
    weight = torch.randn(300, 100)
    before = weight.clone()
    magnitude_mask(weight, 0.8)
    global_magnitude_masks([weight], 0.8)
    assert torch.equal(weight, before)


def kept_by_sorting(values, zeros):
    """The definition of keep_largest: prune in ascending order, of equal magnitudes the last first, and all zeros."""
    magnitudes = values.abs().numpy()
    order = np.lexsort((-np.arange(len(magnitudes)), magnitudes))
    kept = magnitudes != 0
    kept[order[:zeros]] = False
    return kept.tolist()


def every(stride, value):
    """Values of which every stride-th is another, so that a sample with that stride misleads."""
    return lambda n: torch.where(torch.arange(n) % stride == 0, value, 0.1 + torch.rand(n))


ADVERSARIAL = {
    "normal": torch.randn,
    "sorted": lambda n: torch.arange(n, dtype=torch.float32),
    "sorted downwards": lambda n: torch.arange(n, 0, -1, dtype=torch.float32),
    "constant": lambda n: torch.full((n,), 3.0),
    "zeros": torch.zeros,
    "three values": lambda n: torch.randint(0, 3, (n,)).float(),
    "mostly zeros": lambda n: torch.randn(n) * (torch.rand(n) < 0.05),
    "one outlier": lambda n: torch.cat([torch.ones(n - 1), torch.tensor([1e30])]),
    "many scales": lambda n: torch.exp(20 * torch.randn(n)),
    **{f"every {stride}th is large": every(stride, 1000.0) for stride in (3, 7, 13)},
    **{f"every {stride}th is small": every(stride, 0.001) for stride in (3, 7, 13)},
}


@pytest.mark.parametrize("n", [16385, LARGE, 100_003])
@pytest.mark.parametrize("make", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_of_many_magnitudes_the_largest_are_kept_as_a_sort_finds_them(n, make):
    values = make(n)
    for zeros in (1, 2, n // 100, n // 2, round(0.8 * n), round(0.97 * n), n - 1, n):
        assert keep_largest([values], zeros)[0].tolist() == kept_by_sorting(values, zeros), zeros


def test_magnitudes_are_ranked_over_all_tensors():
    tensors = [torch.randn(300, 200), 10 * torch.randn(7, 5), 0.1 * torch.randn(90_000)]
    joined = torch.cat([t.flatten() for t in tensors])
    for zeros in (1, 1000, 90_000, 120_000, len(joined)):
        masks = keep_largest(tensors, zeros)
        assert [mask.shape for mask in masks] == [t.shape for t in tensors]
        assert torch.cat([mask.flatten() for mask in masks]).tolist() == kept_by_sorting(joined, zeros)


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=100), st.data())
def test_of_few_magnitudes_the_largest_are_kept_as_a_sort_finds_them(values, data):
    zeros = data.draw(st.integers(0, len(values)))
    tensor = torch.tensor(values)
    assert keep_largest([tensor], zeros)[0].tolist() == kept_by_sorting(tensor, zeros)


@settings(max_examples=60)
@given(st.integers(16_385, 70_000), st.integers(0, 2**31), st.floats(0, 1), st.sampled_from([1, 2, 5, 100, 10**6]))
def test_masks_are_exact_whatever_the_size_the_rank_and_the_ties(n, seed, fraction, distinct):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, distinct, (n,), generator=generator).float()
    zeros = 1 + round(fraction * (n - 1))
    assert keep_largest([values], zeros)[0].tolist() == kept_by_sorting(values, zeros)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_mask_is_exact_in_every_precision(dtype):
    weight = torch.randn(200, 300).to(dtype)
    mask = magnitude_mask(weight, 0.8)
    assert int((~mask).sum()) == zeros_count(weight.numel(), 0.8)
    assert weight.abs()[~mask].max() <= weight.abs()[mask].min()


def test_a_mask_has_the_places_of_a_weight_that_is_not_contiguous():
    weight = torch.randn(200, 300)
    assert torch.equal(magnitude_mask(weight.T, 0.8), magnitude_mask(weight, 0.8).T)


def test_masks_of_large_matrices_do_not_depend_on_how_they_are_cut_into_blocks():
    weight = torch.randn(3 * 2**17 + 11)
    mask = magnitude_mask(weight, 0.8)
    order = weight.abs().argsort()
    expected = torch.ones_like(mask)
    expected[order[: zeros_count(weight.numel(), 0.8)]] = False
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("threads", [2, 8])
@pytest.mark.parametrize("make", [lambda: torch.randn(70, 400), lambda: torch.randint(-2, 3, (70, 400)).float()])
def test_masks_do_not_depend_on_the_number_of_threads(monkeypatch, threads, make):
    weights = [make() for _ in range(5)]
    alone = magnitude_masks(weights, 0.8) + global_magnitude_masks(weights, 0.8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    together = magnitude_masks(weights, 0.8) + global_magnitude_masks(weights, 0.8)
    assert all(torch.equal(before, after) for before, after in zip(alone, together, strict=True))


@pytest.mark.parametrize("make", [lambda: torch.randn(70, 400), lambda: torch.randint(-2, 3, (70, 400)).float()])
def test_masks_are_the_same_on_other_devices(monkeypatch, make):
    weights = [make() for _ in range(3)]
    here = magnitude_masks(weights, 0.5) + global_magnitude_masks(weights, 0.8)
    monkeypatch.setattr(mask_module, "_on_cpu", lambda tensors: False)
    there = magnitude_masks(weights, 0.5) + global_magnitude_masks(weights, 0.8)
    assert all(torch.equal(before, after) for before, after in zip(here, there, strict=True))


def test_zeros_of_both_signs_are_counted():
    assert count_zeros(torch.tensor([[0.0, -0.0, 1e-30], [-2.0, 0.0, 3.0]])) == 3


def test_a_weight_that_is_not_a_number_is_no_zero():
    assert count_zeros(torch.tensor([float("nan"), 0.0, 1.0])) == 1


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_a_packed_mask_comes_back_as_it_was(bits):
    mask = torch.tensor(bits)
    packed = pack_mask(mask)
    assert packed.dtype == torch.uint8
    assert packed.shape == (-(-len(bits) // 8),)
    assert torch.equal(unpack_mask(packed, mask.shape), mask)


@pytest.mark.parametrize("shape", [(1,), (8,), (3, 5), (16, 16), (2, 3, 7)])
def test_packing_keeps_the_shape(shape):
    mask = torch.rand(shape) < 0.3
    assert torch.equal(unpack_mask(pack_mask(mask), mask.shape), mask)
