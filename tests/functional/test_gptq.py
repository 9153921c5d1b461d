import torch

from winnow.functional.gptq import gptq
from winnow.functional.structured_pruning import add_inputs, damped


def layer(width=24, out=8, tokens=400):
    generator = torch.Generator().manual_seed(3)
    mixed = torch.randn(width, width, generator=generator)
    x = torch.randn(tokens, width, generator=generator) @ mixed * 0.3 + torch.randn(width, generator=generator)
    weight, bias = torch.randn(out, width, generator=generator), torch.randn(out, generator=generator)
    hessian = torch.zeros(width + 1, width + 1, dtype=torch.float64)
    add_inputs(hessian, x)
    return x, weight, bias, damped(hessian)


def test_the_weights_that_follow_and_the_bias_make_up_for_an_error():
    hessian = torch.tensor([[1.0, 0.5, 0.25], [0.5, 1.0, 0.0], [0.25, 0.0, 1.0]], dtype=torch.float64)
    weight = torch.tensor([[0.4, 1.45]])
    # The first weight becomes 0. The error of 0.4 is made up for by 0.4 * 0.5 and 0.4 * 0.25, as the others have no
    # correlation: 1.65 is rounded to 2, while 1.45 would be rounded to 1.
    bias = gptq(weight, torch.tensor([0.3]), torch.tensor([1.0]), hessian, -128, 127)
    assert weight.tolist() == [[0.0, 2.0]]
    torch.testing.assert_close(bias, torch.tensor([0.4]))


def test_outputs_change_less_than_by_rounding_to_the_nearest():
    x, weight, bias, hessian = layer()
    scale = weight.abs().amax(dim=1) / 7
    exact, nearest = x @ weight.T + bias, (weight / scale[:, None]).round() * scale[:, None]
    rounded = weight.clone()
    new_bias = gptq(rounded, bias, scale, hessian, -8, 7)
    codes = rounded / scale[:, None]
    torch.testing.assert_close(codes, codes.round(), atol=1e-4, rtol=0)
    error = (x @ rounded.T + new_bias - exact).square().mean()
    assert error < 0.4 * (x @ nearest.T + bias - exact).square().mean()


def test_the_bias_makes_up_for_the_mean():
    x, weight, bias, hessian = layer()
    scale = weight.abs().amax(dim=1) / 7
    rounded = weight.clone()
    new_bias = gptq(rounded, bias, scale, hessian, -8, 7)
    means = ((x @ (rounded - weight).T) + new_bias - bias).mean(dim=0)
    assert means.abs().max() < 0.02 * (x @ (rounded - weight).T).mean(dim=0).abs().max()


def test_zeros_stay_zeros():
    _, weight, bias, hessian = layer()
    weight[:, ::3] = 0.0
    gptq(weight, bias, weight.abs().amax(dim=1) / 127, hessian, -128, 127)
    assert (weight[:, ::3] == 0).all()
    assert (weight[:, 1::3] != 0).float().mean() > 0.9
