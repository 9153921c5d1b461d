import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.functional.ranking import keep_largest

LARGE = 3 * 16384 + 5  # beyond the size from which keep_largest samples


def test_everything_can_be_pruned_but_no_more():
    assert not keep_largest([torch.rand(5)], 5)[0].any()


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


@pytest.mark.parametrize("n", [50, LARGE])
def test_signed_scores_are_ranked_from_the_lowest(n):
    values = torch.randn(n)
    zeros = n // 3
    kept = torch.ones(n, dtype=torch.bool)
    kept[values.argsort()[:zeros]] = False
    assert torch.equal(keep_largest([values], zeros, signed=True)[0], kept)


@pytest.mark.parametrize("n", [50, LARGE])
def test_of_equal_signed_scores_the_first_are_kept_and_minus_infinity_never(n):
    values = torch.full((n,), -2.0)
    values[: n // 10] = -torch.inf
    keep = keep_largest([values], n // 2, signed=True)[0]
    assert keep.tolist() == [n // 10 <= i < n // 10 + n - n // 2 for i in range(n)]
    assert keep_largest([values], 0, signed=True)[0].tolist() == [i >= n // 10 for i in range(n)]
