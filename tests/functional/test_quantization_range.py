import pytest
import torch

from winnow.functional.quantization_grid import asymmetric_grid, fake_quantize
from winnow.functional.quantization_range import BINS, histogram, least_error_range


def counted(values, weights=None):
    values = torch.tensor(values)
    return histogram(values, torch.ones_like(values) if weights is None else torch.tensor(weights))


def test_a_histogram_adds_weights_of_equal_values():
    counts = counted([[1.0, -2.0], [1.0, 1.001]], [[1.0, 5.0], [2.0, 4.0]])  # 1.001 is 1.0 in bfloat16
    assert counts.shape == (BINS,)
    assert counts[counts > 0].tolist() == [7.0, 5.0]
    assert counts[0x3F80] == 7.0  # the bits of 1.0


def test_values_that_all_matter_equally_keep_their_whole_range():
    x = torch.linspace(-1.0, 3.0, 2001)
    assert least_error_range(histogram(x, torch.ones_like(x)), 255) == pytest.approx((-1.0, 3.0), rel=0.02)


def test_a_large_value_without_weight_is_clipped_and_one_with_weight_is_kept():
    x = torch.cat([torch.linspace(-1.0, 1.0, 2001), torch.tensor([100.0])])
    heavy = torch.ones_like(x)
    light = torch.cat([torch.ones(2001), torch.tensor([1e-9])])
    assert least_error_range(histogram(x, heavy * torch.cat([torch.ones(2001), torch.tensor([1e6])])), 255)[1] == 100.0
    assert least_error_range(histogram(x, light), 255) == (-1.0, 1.0)


@pytest.mark.parametrize("levels", [255, 127])
def test_the_range_is_as_good_as_the_best_of_a_search_with_real_rounding(levels):
    x = torch.randn(4000, generator=torch.Generator().manual_seed(1)).double() ** 3
    x = x.bfloat16().double()  # the values that the histogram keeps
    weights = (-x.abs()).exp()

    def error(minimum, maximum):
        grid = asymmetric_grid(torch.tensor(float(minimum)), torch.tensor(float(maximum)), 0, levels)
        return float((weights * (x - fake_quantize(x, *grid, 0, levels)).square()).sum())

    searched = min(error(x.min() * i / 25, x.max() * j / 25) for i in range(1, 26) for j in range(1, 26))
    assert error(*least_error_range(histogram(x, weights), levels)) < 1.03 * searched
    assert searched < 0.5 * error(x.min(), x.max())


def test_values_without_a_sign_keep_zero_as_their_minimum():
    assert least_error_range(counted([0.5, 1.0, 2.0]), 255) == (0.0, 2.0)


def test_values_that_have_no_influence_have_no_range():
    assert least_error_range(counted([1.0, 2.0], [0.0, 0.0]), 255) is None
    assert least_error_range(counted([0.0, 0.0]), 255) is None
