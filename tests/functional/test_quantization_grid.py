import pytest
import torch

from winnow.functional.quantization_grid import INT32, asymmetric_grid, fake_quantize, grid_codes, symmetric_scale


@pytest.mark.parametrize(
    ("minimum", "maximum", "high", "scale", "zero_point"),
    [
        (-1.0, 3.0, 255, 4 / 255, 64),  # 63.75
        (-1.0, 3.0, 127, 4 / 127, 32),  # 31.75, reduced range
        (0.0, 2.55, 255, 0.01, 0),
        (1.0, 2.55, 255, 0.01, 0),  # zero must be on the grid, so the range begins there
        (-2.55, -1.0, 255, 0.01, 255),
    ],
)
def test_an_asymmetric_grid_spreads_over_the_range_and_zero(minimum, maximum, high, scale, zero_point):
    found, zero = asymmetric_grid(torch.tensor([minimum]), torch.tensor([maximum]), 0, high)
    torch.testing.assert_close(found, torch.tensor([scale]))
    assert zero.item() == zero_point
    assert zero.dtype == torch.int32


def test_a_range_of_nothing_has_a_grid_too():
    scale, zero = asymmetric_grid(torch.zeros(1), torch.zeros(1), 0, 255)
    assert scale.item() > 0
    assert zero.item() == 0
    assert fake_quantize(torch.zeros(3), scale, zero, 0, 255).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("bits", "largest", "scale"), [(8, 1.275, 0.01), (4, 1.5, 0.2)])
def test_a_symmetric_grid_reaches_from_minus_128_to_127_or_from_minus_8_to_7(bits, largest, scale):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    torch.testing.assert_close(symmetric_scale(torch.tensor(largest), low, high), torch.tensor(scale))


def test_values_are_rounded_half_to_even_and_clipped():
    x = torch.tensor([0.125, 0.375, -0.125, 0.3, 40.0, -40.0, 0.0])  # in quarters: 0.5, 1.5, -0.5, 1.2, 160, -160, 0
    scale, zero = torch.tensor(0.25), torch.tensor(0)
    assert grid_codes(x, scale, zero, -128, 127).tolist() == [0, 2, 0, 1, 127, -128, 0]
    assert fake_quantize(x, scale, zero, -128, 127).tolist() == [0, 0.5, 0, 0.25, 31.75, -32, 0]


def test_a_zero_point_moves_the_grid():
    x = torch.tensor([-1.0, -0.5, 0.0, 2.0])
    scale, zero = torch.tensor(0.5), torch.tensor(2)
    assert grid_codes(x, scale, zero, 0, 5).tolist() == [0, 1, 2, 5]
    assert fake_quantize(x, scale, zero, 0, 5).tolist() == [-1.0, -0.5, 0.0, 1.5]


def test_it_rounds_as_torch_does():
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    scale, zero = torch.tensor([0.0173]), torch.tensor([117], dtype=torch.int32)
    theirs = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)
    torch.testing.assert_close(fake_quantize(x, scale, zero, 0, 255), theirs)
    scales = torch.rand(64, generator=torch.Generator().manual_seed(1)) * 0.01 + 0.01
    none = torch.zeros(64, dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(x, scales, none, 0, -128, 127)
    torch.testing.assert_close(fake_quantize(x, scales.view(-1, 1), none.view(-1, 1), -128, 127), theirs)


def test_the_gradient_passes_but_for_what_is_clipped_by_more_than_a_step():
    x = torch.tensor([-1.3, -0.4, 0.0, 0.3, 1.6, 2.6], requires_grad=True)  # the grid: -1, -0.5, ..., 1.5
    fake_quantize(x, torch.tensor(0.5), torch.tensor(2), 0, 5).backward(torch.arange(1.0, 7.0))
    assert x.grad.tolist() == [1, 2, 3, 4, 5, 0]


def test_the_gradient_is_that_of_the_grid_at_the_time():
    x, scale = torch.tensor([3.0], requires_grad=True), torch.tensor([1.0])
    rounded = fake_quantize(x, scale, torch.tensor([0]), 0, 5)
    scale.fill_(0.1)  # on which 3.0 would be clipped
    rounded.backward()
    assert x.grad.tolist() == [1]


def test_the_gradient_of_half_precision_is_clipped_at_the_same_place():
    x = torch.tensor([255.0, 256.0, 258.0], dtype=torch.bfloat16, requires_grad=True)
    fake_quantize(x, torch.tensor([1.004]), torch.tensor([0]), 0, 255).sum().backward()
    assert x.grad.tolist() == [1, 1, 0]  # 254.0, 254.98 and 256.97 steps


@pytest.mark.parametrize("zero_point", [torch.tensor([2], dtype=torch.int32), None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_graph_rounds_and_clips_as_without_it(zero_point, dtype):
    values = torch.tensor([[-4.0, -1.4, 0.3, 1.2], [2.2, 2.6, 3.2, 9.0]], dtype=dtype)
    results = []
    for rounding in (fake_quantize, torch.compile(fake_quantize, backend="eager", fullgraph=True)):
        x = values.clone().requires_grad_()
        rounded = rounding(x, torch.tensor([0.5]), zero_point, 0, 5)
        rounded.sum().backward()
        results.append((rounded.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert 0 < results[0][1].sum() < values.numel()


def test_a_matrix_that_is_75_percent_sparse_stays_so():
    weight = torch.randn(40, 40, generator=torch.Generator().manual_seed(0)) + 3.0
    weight.flatten()[:1200] = 0.0
    scale = symmetric_scale(weight.abs().max(), -128, 127)
    assert int((fake_quantize(weight, scale, torch.tensor(0), -128, 127) == 0).sum()) == 1200


def test_the_bounds_of_int32_survive_float32():
    assert [int(torch.tensor(float(bound)).to(torch.int32)) for bound in INT32] == list(INT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_back_as_it_went_in(dtype):
    x = torch.tensor([0.3, 254.9], dtype=dtype)
    rounded = fake_quantize(x, torch.tensor(1.0), torch.tensor(0), 0, 255)
    assert rounded.dtype == dtype
    assert rounded.tolist() == [0, 255]
