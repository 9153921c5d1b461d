import pytest
import torch

from winnow.functional.layerwise_pruning import Inputs, LayerErrors

TOKENS, WIDTH, OUT = 200, 8, 5


@pytest.fixture
def layer():
    torch.manual_seed(0)
    inputs = torch.randn(TOKENS, WIDTH) @ torch.randn(WIDTH, WIDTH) + torch.randn(WIDTH)
    others = inputs + 0.3 * torch.randn(TOKENS, WIDTH)
    return torch.randn(OUT, WIDTH), torch.randn(OUT), inputs, others


def errors_of(layer, damping=0.0):
    weight, bias, inputs, others = layer
    sums = Inputs.of_width(WIDTH, inputs.device)
    for part in torch.arange(TOKENS).chunk(3):
        sums.add(inputs[part], others[part])
    return LayerErrors(weight, bias, sums, damping)


def least_squares(layer, row, columns):
    """The best weights of these columns, the bias, and the squared error, by a solver of the whole system."""
    weight, bias, inputs, others = (x.double() for x in layer)
    wanted = others @ weight[row] + bias[row]
    system = torch.cat([inputs[:, columns], torch.ones(TOKENS, 1, dtype=torch.float64)], dim=1)
    found = torch.linalg.lstsq(system, wanted).solution
    return found[:-1], found[-1], (system @ found - wanted).square().sum()


@pytest.mark.parametrize("kept", [0, 1, 3, 4, 5, 7, 8])
def test_the_refit_is_the_least_squares_solution_for_each_row(layer, kept):
    keep = torch.zeros(OUT, WIDTH, dtype=torch.bool)
    for row in range(OUT):
        keep[row, torch.randperm(WIDTH)[: min(kept + row % 2, WIDTH)]] = True
    weight, bias = errors_of(layer).refit(keep)
    assert (weight[~keep] == 0).all()
    for row in range(OUT):
        found, constant, _ = least_squares(layer, row, keep[row])
        torch.testing.assert_close(weight[row, keep[row]], found, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(bias[row], constant, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("block", [1, 4])
def test_a_score_is_the_error_that_a_weight_or_block_adds_with_the_best_refit_of_the_others(layer, block):
    weight, bias, inputs, _ = layer
    layer = (weight, bias, inputs, inputs)
    scores = errors_of(layer).scores(weight, block)
    for row in range(OUT):
        for start in range(0, WIDTH, block):
            left = [column for column in range(WIDTH) if not start <= column < start + block]
            added = least_squares(layer, row, left)[2]
            for column in range(start, start + block):
                torch.testing.assert_close(scores[row, column], added, atol=1e-3, rtol=1e-3)


def test_damping_holds_the_weights_where_the_inputs_say_nothing(layer):
    weight, bias, inputs, _ = layer
    silent = inputs.clone()
    silent[:, 2] = 0.0
    keep = torch.ones(OUT, WIDTH, dtype=torch.bool)
    refitted, constant = errors_of((weight, bias, silent, silent), damping=0.01).refit(keep)
    torch.testing.assert_close(refitted, weight.double(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(constant, bias.double(), atol=1e-4, rtol=1e-4)
    keep[:, 2] = False
    refitted, _ = errors_of((weight, bias, silent, silent), damping=0.01).refit(keep)
    torch.testing.assert_close(refitted[:, keep[0]], weight.double()[:, keep[0]], atol=1e-4, rtol=1e-4)


def test_a_layer_without_a_bias_has_the_least_squares_solution_without_a_constant(layer):
    weight, _, inputs, others = layer
    keep = torch.tensor([True, False, True, True, False, False, True, False]).expand(OUT, WIDTH)
    refitted, constant = errors_of((weight, None, inputs, others)).refit(keep)
    wanted = torch.linalg.lstsq(inputs[:, keep[0]].double(), others.double() @ weight.double().T).solution
    torch.testing.assert_close(refitted[:, keep[0]], wanted.T, atol=1e-4, rtol=1e-4)
    assert (constant == 0).all()
