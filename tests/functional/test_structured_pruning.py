import pytest
import torch

from winnow.functional.structured_pruning import Refits, add_inputs, damped, order_by_scores, removal_order

TOKENS, OUT = 60, 5


def refit(weight, bias, hessian, kept, width):
    return Refits(weight, bias, hessian, list(kept), width).keep(len(kept))


def correlated_inputs(groups, width, seed=0):
    """Inputs whose columns depend on each other and have means, as those of a trained layer."""
    generator = torch.Generator().manual_seed(seed)
    n = groups * width
    x = torch.randn(TOKENS, n, generator=generator) @ torch.randn(n, n, generator=generator)
    return x.double() + torch.randn(n, generator=generator)


def layer(groups, width, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(OUT, groups * width, generator=generator), torch.randn(OUT, generator=generator)


def hessian_of(x):
    hessian = torch.zeros(x.shape[1] + 1, x.shape[1] + 1, dtype=torch.float64)
    add_inputs(hessian, x)
    return hessian


def with_constant(x):
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)


def columns_of(groups, width):
    return [group * width + i for group in groups for i in range(width)]


def least_squares(x, weight, bias, kept, width):
    """The squared error of the best weight and bias for the kept groups, and both in one matrix, from the inputs.

    ``x``: (rows, inputs + 1), the last column that of the bias.
    """
    targets = x @ torch.cat([weight, bias[:, None]], dim=1).double().T
    kept_x = x[:, [*columns_of(kept, width), -1]]
    solution = torch.linalg.lstsq(kept_x, targets, driver="gelsd").solution
    return float((kept_x @ solution - targets).square().sum()), solution.T


def rows_of_damping(hessian):
    """Rows that, appended to the inputs, add to the squared error what the damping adds to the Hessian."""
    return torch.diag((damped(hessian) - hessian).diagonal().sqrt())


def test_inputs_add_up_over_batches_with_a_constant():
    hessian = torch.zeros(3, 3, dtype=torch.float64)
    add_inputs(hessian, torch.tensor([[1.0, 2.0]]))
    add_inputs(hessian, torch.tensor([[3.0, -1.0], [0.0, 1.0]], dtype=torch.bfloat16))
    assert hessian.tolist() == [[10.0, -1.0, 4.0], [-1.0, 6.0, 2.0], [4.0, 2.0, 3.0]]


def test_damping_adds_a_hundredth_of_the_mean_diagonal_but_none_to_the_constant():
    hessian = torch.tensor([[2.0, 1.0, 1.0], [1.0, 4.0, 1.0], [1.0, 1.0, 9.0]], dtype=torch.float64)
    expected = torch.tensor([[2.03, 1.0, 1.0], [1.0, 4.03, 1.0], [1.0, 1.0, 9.0]], dtype=torch.float64)
    torch.testing.assert_close(damped(hessian), expected, rtol=0, atol=2e-8)
    assert hessian[0, 0] == 2


def test_inputs_that_are_all_zero_cost_nothing():
    order = removal_order(torch.ones(2, 4), damped(torch.zeros(5, 5, dtype=torch.float64)), 2, 1)
    assert order.errors[-1] < 1e-6


@pytest.mark.parametrize(("groups", "width"), [(8, 1), (4, 3)])
@pytest.mark.parametrize("is_damped", [False, True])
def test_each_removal_is_the_cheapest_by_brute_force_and_costs_what_least_squares_says(groups, width, is_damped):
    x, (weight, bias) = correlated_inputs(groups, width), layer(groups, width)
    hessian = hessian_of(x)
    rows = with_constant(x)
    if is_damped:
        rows = torch.cat([rows, rows_of_damping(hessian)])
        hessian = damped(hessian)
    result = removal_order(weight, hessian, width, at_once=1)
    assert result.errors[0] == 0
    left = list(range(groups))
    for removed, error in zip(result.order, result.errors[1:].tolist(), strict=True):
        costs = {g: least_squares(rows, weight, bias, [o for o in left if o != g], width)[0] for g in left}
        assert removed == min(costs, key=costs.get)
        assert error == pytest.approx(costs[removed], rel=1e-8)
        left.remove(removed)


@pytest.mark.parametrize(("groups", "width", "at_once"), [(20, 1, 8), (7, 3, 2), (5, 2, 9)])
def test_the_errors_are_those_of_the_refit_also_between_updates(groups, width, at_once):
    x, (weight, bias) = correlated_inputs(groups, width), layer(groups, width)
    hessian = hessian_of(x)
    dense = x @ weight.double().T + bias
    result = removal_order(weight, hessian, width, at_once)
    assert sorted(result.order) == list(range(groups))
    for count in range(groups + 1):
        kept = result.kept(count)
        fitted, offset = refit(weight, bias, hessian, kept, width)
        error = float((x[:, columns_of(kept, width)] @ fitted.T + offset - dense).square().sum())
        assert float(result.errors[groups - count]) == pytest.approx(error, rel=1e-9, abs=1e-9)


def test_the_groups_that_go_at_once_are_the_cheapest_ones_ascending():
    weight = torch.tensor([[5.0, 1.0, 4.0, 2.0, 3.0]])
    hessian = torch.eye(6, dtype=torch.float64)  # independent inputs: a removal costs the square of its weight
    result = removal_order(weight, hessian, 1, at_once=3)
    assert result.order == [1, 3, 4, 2, 0]
    assert result.errors.tolist() == pytest.approx([0, 1, 5, 14, 30, 55])


def test_a_group_that_another_can_stand_in_for_goes_first_though_its_weight_is_large():
    x = torch.tensor([[1.0, 1.0, 0.0], [-1.0, -1.0, 0.0], [0.0, 0.1, 1.0], [0.0, -0.1, -1.0]])
    weight = torch.tensor([[5.0, 5.0, 1.0]])
    assert removal_order(weight, damped(hessian_of(x), 1e-6), 1, 1).order[0] in (0, 1)


def test_an_order_changes_neither_the_weight_nor_the_hessian():
    weight, hessian = layer(4, 1)[0].double(), damped(hessian_of(correlated_inputs(4, 1)))
    before = weight.clone(), hessian.clone()
    removal_order(weight, hessian, 1, 2)
    assert torch.equal(weight, before[0])
    assert torch.equal(hessian, before[1])


def test_the_order_does_not_depend_on_the_bias_because_the_bias_makes_up_for_means():
    weight = torch.tensor([[1.0, 2.0]])
    x = torch.tensor([[1000.0, 1.0], [1002.0, 1.0], [1000.0, 3.0], [1002.0, 3.0]])  # equal deviations, other means
    result = removal_order(weight, hessian_of(x), 1, 1)
    assert result.order == [0, 1]
    assert result.errors.tolist() == pytest.approx([0, 4, 20])


def test_the_constant_alone_is_fitted_where_nothing_is_kept():
    x = torch.tensor([[1.0], [3.0]])
    weight, bias = torch.tensor([[5.0]]), torch.tensor([1.0])
    fitted, offset = refit(weight, bias, hessian_of(x), [], 1)
    assert fitted.shape == (1, 0)
    assert offset.tolist() == pytest.approx([11.0])  # 5 times the mean of 2, and 1
    assert removal_order(weight, hessian_of(x), 1, 1).errors.tolist() == pytest.approx([0, 50])  # 25 * (1 + 1)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("kept", [[], [4], [3, 0, 5], [0, 1, 2, 3, 4, 5]])
def test_the_refit_is_the_least_squares_solution_with_damping(width, kept):
    x, (weight, bias) = correlated_inputs(6, width), layer(6, width)
    hessian = hessian_of(x)
    rows = torch.cat([with_constant(x), rows_of_damping(hessian)])
    fitted, offset = refit(weight, bias, damped(hessian), kept, width)
    expected = least_squares(rows, weight, bias, sorted(kept), width)[1]
    torch.testing.assert_close(torch.cat([fitted, offset[:, None]], dim=1), expected, rtol=1e-9, atol=1e-9)


def test_a_refit_that_keeps_everything_changes_nothing():
    weight, bias = layer(6, 2)
    fitted, offset = refit(weight, bias, damped(hessian_of(correlated_inputs(6, 2))), range(6), 2)
    torch.testing.assert_close(fitted, weight.double(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(offset, bias.double(), rtol=1e-9, atol=1e-9)


def test_an_input_that_is_always_zero_needs_damping():
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    with pytest.raises(torch.linalg.LinAlgError):
        removal_order(torch.ones(1, 2), hessian_of(x), 1, 1)
    assert removal_order(torch.ones(1, 2), damped(hessian_of(x)), 1, 1).order == [1, 0]


def test_of_two_equal_inputs_one_gets_the_weights_of_both():
    x = torch.tensor([[1.0, 1.0], [2.0, 2.0], [-1.0, -1.0]])
    weight = torch.tensor([[1.0, 2.0]])
    fitted, _ = refit(weight, torch.zeros(1), damped(hessian_of(x), 1e-6), [1], 1)
    assert fitted.item() == pytest.approx(3.0, rel=1e-5)


def test_the_lowest_scores_go_first_and_cost_their_sum():
    result = order_by_scores(torch.tensor([3.0, 0.5, 2.0, 0.5]))
    assert result.order == [1, 3, 2, 0]
    assert result.errors.tolist() == [0, 0.5, 1, 3, 6]
    assert result.kept(0) == []
    assert result.kept(2) == [0, 2]
    assert result.kept(4) == [0, 1, 2, 3]


@pytest.mark.parametrize("width", [1, 2])
def test_each_number_of_kept_groups_is_fitted_as_if_they_were_the_only_ones(width):
    """The first groups of any order, also where they do not ascend."""
    x, order = correlated_inputs(6, width), [4, 0, 5, 2, 1, 3]
    weight, bias = torch.randn(3, 6 * width, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    hessian = damped(hessian_of(x))
    nested = Refits(weight, bias, hessian, order, width)
    for count in range(7):
        kept = sorted(order[:count])
        for found, expected in zip(nested.keep(count), refit(weight, bias, hessian, kept, width), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
