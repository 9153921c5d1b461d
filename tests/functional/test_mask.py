import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from winnow.functional import mask as mask_module
from winnow.functional import ranking
from winnow.functional.mask import (
    count_pruned,
    count_zeros,
    global_pruning_masks,
    pack_mask,
    pruning_mask,
    pruning_masks,
    unpack_mask,
)
from winnow.functional.structure import Structure, zeros_count

LARGE = 3 * 16384 + 5  # beyond the size from which keep_largest samples
BLOCK4 = Structure.parse("block4")


def pretend_another_device(monkeypatch):
    for module in (mask_module, ranking):
        monkeypatch.setattr(module, "on_cpu", lambda tensors: False)


@pytest.mark.parametrize("shape", [(7, 9), (768, 2), (130, 131), (300, 200)])
@pytest.mark.parametrize("sparsity", [0.0, 0.01, 0.5, 0.8, 0.97, 0.999])
def test_a_mask_prunes_exactly_the_smallest_magnitudes(shape, sparsity):
    weight = torch.randn(shape)
    mask = pruning_mask(weight, sparsity)
    zeros = zeros_count(weight.numel(), sparsity)
    assert mask.dtype == torch.bool
    assert mask.shape == weight.shape
    assert int((~mask).sum()) == zeros
    if 0 < zeros < weight.numel():
        assert weight.abs()[~mask].max() < weight.abs()[mask].min()


def test_of_equal_magnitudes_at_the_threshold_the_first_are_kept():
    weight = torch.tensor([1.0, 2.0, 2.0, 2.0, 2.0, 3.0])
    assert pruning_mask(weight, 0.5).tolist() == [False, True, True, False, False, True]


def test_the_sign_of_a_weight_does_not_count():
    weight = torch.tensor([-3.0, 1.0, -1.0, 2.0])
    assert pruning_mask(weight, 0.5).tolist() == [True, False, False, True]


@pytest.mark.parametrize("numel", [10, 1000, LARGE])
def test_a_constant_matrix_keeps_its_first_weights(numel):
    mask = pruning_mask(torch.full((numel,), 0.5), 0.8)
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
    assert int((~pruning_mask(weight, sparsity)).sum()) == max(there, zeros_count(len(values), sparsity))


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=60), st.floats(0, 0.9), st.floats(0, 0.999))
def test_a_renewed_mask_never_unprunes(values, first, second):
    weight = torch.tensor(values)
    pruned = weight * pruning_mask(weight, first)
    assert not pruning_mask(pruned, second)[pruned == 0].any()


def test_a_matrix_sparser_than_asked_stays_as_sparse_as_it_is():
    """SparseML re-grows such zeros; here a renewed mask keeps them."""
    weight = torch.randn(100)
    weight[:90] = 0.0
    mask = pruning_mask(weight, 0.5)
    assert mask.tolist() == [False] * 90 + [True] * 10
    assert pruning_mask(weight, 0.0).tolist() == mask.tolist()


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_a_global_mask_is_the_mask_of_all_weights_in_one_row(sparsity):
    weights = [torch.randn(20, 30), 10 * torch.randn(7, 5), 0.1 * torch.randn(200)]
    masks = global_pruning_masks(weights, sparsity)
    joined = pruning_mask(torch.cat([w.flatten() for w in weights]), sparsity)
    assert [m.shape for m in masks] == [w.shape for w in weights]
    assert torch.equal(torch.cat([m.flatten() for m in masks]), joined)


def test_a_global_threshold_prunes_the_matrix_of_small_weights_first():
    small, large = global_pruning_masks([torch.rand(50) * 0.1, torch.rand(50) + 1.0], 0.5)
    assert not small.any()
    assert large.all()


def test_masking_leaves_the_weight_as_it_was():
    weight = torch.randn(300, 100)
    before = weight.clone()
    pruning_mask(weight, 0.8)
    global_pruning_masks([weight], 0.8)
    assert torch.equal(weight, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_mask_is_exact_in_every_precision(dtype):
    weight = torch.randn(200, 300).to(dtype)
    mask = pruning_mask(weight, 0.8)
    assert int((~mask).sum()) == zeros_count(weight.numel(), 0.8)
    assert weight.abs()[~mask].max() <= weight.abs()[mask].min()


def test_a_mask_has_the_places_of_a_weight_that_is_not_contiguous():
    weight = torch.randn(200, 300)
    assert torch.equal(pruning_mask(weight.T, 0.8), pruning_mask(weight, 0.8).T)


def test_masks_of_large_matrices_do_not_depend_on_how_they_are_cut_into_blocks():
    weight = torch.randn(3 * 2**17 + 11)
    mask = pruning_mask(weight, 0.8)
    order = weight.abs().argsort()
    expected = torch.ones_like(mask)
    expected[order[: zeros_count(weight.numel(), 0.8)]] = False
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("threads", [2, 8])
@pytest.mark.parametrize("make", [lambda: torch.randn(70, 400), lambda: torch.randint(-2, 3, (70, 400)).float()])
def test_masks_do_not_depend_on_the_number_of_threads(monkeypatch, threads, make):
    weights = [make() for _ in range(5)]
    alone = pruning_masks(weights, [0.8] * len(weights)) + global_pruning_masks(weights, 0.8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    together = pruning_masks(weights, [0.8] * len(weights)) + global_pruning_masks(weights, 0.8)
    assert all(torch.equal(before, after) for before, after in zip(alone, together, strict=True))


@pytest.mark.parametrize("make", [lambda: torch.randn(70, 400), lambda: torch.randint(-2, 3, (70, 400)).float()])
def test_masks_are_the_same_on_other_devices(monkeypatch, make):
    weights = [make() for _ in range(3)]
    here = pruning_masks(weights, [0.5] * len(weights)) + global_pruning_masks(weights, 0.8)
    pretend_another_device(monkeypatch)
    there = pruning_masks(weights, [0.5] * len(weights)) + global_pruning_masks(weights, 0.8)
    assert all(torch.equal(before, after) for before, after in zip(here, there, strict=True))


def test_the_score_of_a_block_is_its_mean_magnitude_and_blocks_are_pruned_whole():
    weight = torch.tensor([[9.0, 0.1, 0.1, -0.1, -3.0, 3.0, -3.0, 3.0], [1.0, 1.0, 1.0, -1.0, 0.0, 0.0, 5.0, 0.0]])
    # means: 2.325, 3; 1, 1.25
    assert pruning_mask(weight, 0.25, BLOCK4).tolist() == [[True] * 8, [False] * 4 + [True] * 4]
    assert pruning_mask(weight, 0.5, BLOCK4).tolist() == [[True] * 8, [False] * 8]
    assert pruning_mask(weight, 0.75, BLOCK4).tolist() == [[False] * 4 + [True] * 4, [False] * 8]


def test_of_equal_blocks_the_first_are_kept():
    mask = pruning_mask(torch.tensor([[1.0, 3.0, 2.0, 2.0] * 4]), 0.5, BLOCK4)
    assert mask.tolist() == [[True] * 8 + [False] * 8]


@pytest.mark.parametrize(
    ("shape", "sparsity", "zeros"),
    [
        ((768, 768), 0.8, 471_860),  # round(147,456 * .8 = 117,964.8) = 117,965 blocks
        ((3072, 768), 0.8, 1_887_436),  # round(589,824 * .8 = 471,859.2) = 471,859 blocks
        ((2, 20), 0.25, 8),  # 2.5 blocks: 2
        ((2, 20), 0.35, 16),  # 3.5 blocks: 4
        ((2, 20), 0.05, 0),  # half a block: 0
        ((2, 20), 0.15, 8),  # 1.5 blocks: 2
    ],
)
def test_the_number_of_pruned_blocks_is_rounded_half_to_even(shape, sparsity, zeros):
    mask = pruning_mask(torch.randn(shape), sparsity, BLOCK4)
    assert mask.shape == shape
    assert int((~mask).sum()) == zeros
    by_block = mask.view(-1, 4).sum(dim=1)
    assert set(by_block.tolist()) <= {0, 4}


def test_a_global_threshold_over_blocks_prunes_the_matrix_of_small_blocks_first():
    small, large = torch.rand(4, 8) * 0.1, torch.rand(2, 8) + 1.0
    masks = global_pruning_masks([small, large], 0.75, BLOCK4)  # 9 of 12 blocks: all 8 small ones and one more
    assert [int(mask.sum()) for mask in masks] == [0, 12]
    smallest = int(large.view(-1, 4).sum(dim=1).argmin())
    assert not masks[1].view(-1, 4)[smallest].any()


@pytest.mark.parametrize(
    ("pattern", "row", "kept"),
    [
        ("2:4", [4, 1, 3, 2, 8, 7, 6, 5], [1, 0, 1, 0, 1, 1, 0, 0]),
        ("2:4", [1, 1, 1, 1, 2, 3, 2, 2], [1, 1, 0, 0, 1, 1, 0, 0]),
        ("2:4", [-4, 1, -3, 2, 0, 7, 0, 0], [1, 0, 1, 0, 0, 1, 0, 0]),
        ("1:4", [4, 1, 3, 2, 8, 7, 6, 9], [1, 0, 0, 0, 0, 0, 0, 1]),
        ("1:2", [4, 1, 3, 2, 8, 7, 6, 9], [1, 0, 1, 0, 1, 0, 0, 1]),
        ("2:3", [4, 1, 3, 2, 8, 7], [1, 0, 1, 0, 1, 1]),
        ("4:8", [4, 1, 3, 2, 8, 7, 6, 5], [0, 0, 0, 0, 1, 1, 1, 1]),
        ("15:16", range(16), [0] + [1] * 15),
    ],
)
def test_n_of_m_weights_are_kept_of_each_group(pattern, row, kept):
    structure = Structure.parse(pattern)
    weight = torch.tensor([list(row)], dtype=torch.float32)
    assert pruning_mask(weight, structure.sparsity, structure).int().tolist() == [kept]


def test_on_the_way_to_n_of_m_the_smallest_of_what_the_pattern_prunes_are_pruned():
    weight = torch.tensor([[4.0, 1.0, 3.0, 2.0, 8.0, 7.0, 6.0, 5.0]])  # the pattern prunes 1, 2, 6, 5
    structure = Structure.parse("2:4")
    kept = {s: pruning_mask(weight, s, structure).int().tolist()[0] for s in (0.0, 0.125, 0.25, 0.375, 0.5)}
    assert kept == {
        0.0: [1, 1, 1, 1, 1, 1, 1, 1],
        0.125: [1, 0, 1, 1, 1, 1, 1, 1],
        0.25: [1, 0, 1, 0, 1, 1, 1, 1],
        0.375: [1, 0, 1, 0, 1, 1, 1, 0],  # 5, though 3 and 4 are smaller
        0.5: [1, 0, 1, 0, 1, 1, 0, 0],
    }


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "1:3", "5:12", "4:8", "7:16"])
@pytest.mark.parametrize("fraction", [0.3, 0.9, 1.0])
def test_a_ramp_to_a_pattern_has_exactly_its_zeros_and_never_unprunes(pattern, fraction):
    structure = Structure.parse(pattern)
    weight = torch.randn(96, 240)
    pruned = weight * pruning_mask(weight, 0.2 * structure.sparsity, structure)
    moved = torch.where(pruned != 0, pruned + 0.3 * torch.randn(96, 240), 0.0)
    mask = pruning_mask(moved, fraction * structure.sparsity, structure)
    assert int((~mask).sum()) == zeros_count(96 * 240, fraction * structure.sparsity)
    assert not mask[pruned == 0].any()
    by_group = mask.view(-1, structure.group).sum(dim=1)
    assert by_group.min() >= structure.kept
    if fraction == 1.0:
        assert by_group.max() == structure.kept


def test_signed_scores_are_ranked_as_they_are_and_what_is_minus_infinite_stays_pruned():
    scores = torch.tensor([[-5.0, 1.0, -math.inf, 0.0, 2.0, -1.0, 3.0, 4.0]])
    assert pruning_mask(scores, 0.25, signed=True).int().tolist() == [[0, 1, 0, 1, 1, 1, 1, 1]]
    assert pruning_mask(scores, 0.5, signed=True).int().tolist() == [[0, 1, 0, 0, 1, 0, 1, 1]]
    assert pruning_mask(scores, 0.0, signed=True).int().tolist() == [[1, 1, 0, 1, 1, 1, 1, 1]]
    assert pruning_mask(scores, 0.5, Structure.parse("2:4"), signed=True).int().tolist() == [[0, 1, 0, 1, 0, 0, 1, 1]]
    blocks = torch.tensor([[-9.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0]])  # means -1.5 and 0.25
    assert pruning_mask(blocks, 0.5, BLOCK4, signed=True).int().tolist() == [[0] * 4 + [1] * 4]


@pytest.mark.parametrize("structure", ["unstructured", "block4", "2:4", "3:8"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("make", [lambda: torch.randn(300, 400), lambda: torch.randint(-2, 3, (300, 400)).float()])
def test_masks_of_structures_are_the_same_on_other_devices(monkeypatch, structure, signed, make):
    structure, scores = Structure.parse(structure), make()
    sparsities = [0.3, structure.sparsity or 0.7]
    here = [pruning_mask(scores, s, structure, signed=signed) for s in sparsities]
    pretend_another_device(monkeypatch)
    there = [pruning_mask(scores, s, structure, signed=signed) for s in sparsities]
    assert all(torch.equal(before, after) for before, after in zip(here, there, strict=True))


@pytest.mark.parametrize("structure", ["block4", "2:4"])
def test_a_mask_of_a_structure_has_the_places_of_a_weight_that_is_not_contiguous(structure):
    structure, weight = Structure.parse(structure), torch.randn(40, 24)
    expected = pruning_mask(weight.T.contiguous(), 0.5, structure)
    assert torch.equal(pruning_mask(weight.T, 0.5, structure), expected)


@pytest.mark.parametrize(
    ("structure", "row", "pruned"),
    [
        ("unstructured", [0, 1, 0, 0, 0, 0, 0, 0], 7),
        ("block4", [0, 1, 0, 0, 0, 0, 0, 0], 4),
        ("2:4", [0, 1, 0, 0, 0, 0, 0, 0], 4),
        ("2:4", [0, 1, 1, 1, 0, 0, 1, 1], 3),
    ],
)
def test_zeros_count_where_they_follow_the_structure(structure, row, pruned):
    assert count_pruned(torch.tensor([row], dtype=torch.float32), Structure.parse(structure)) == pruned


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
