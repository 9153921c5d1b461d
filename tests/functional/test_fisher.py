import pytest
import torch

from winnow.functional.fisher import BlockFisher

ROWS, COLUMNS, BLOCK = 4, 6, 8
DAMPING = 1e-3


@pytest.fixture
def case():
    """A weight, gradients, and the inverse of each block of their Fisher matrix."""
    torch.manual_seed(0)
    weight, gradients = torch.randn(ROWS, COLUMNS), torch.randn(30, ROWS * COLUMNS)
    fisher = gradients.double().T @ gradients.double() / 30 + DAMPING * torch.eye(ROWS * COLUMNS, dtype=torch.float64)
    return weight, gradients, fisher


def inverse_of(gradients):
    fisher = BlockFisher(gradients.shape[1], BLOCK, gradients.device)
    for part in gradients.split(7):
        fisher.add(part)
    return fisher.inverse(DAMPING)


def rise(fisher, change):
    """By how much the loss rises for a change of a block."""
    return change @ fisher @ change / 2


def best_change(fisher, weight, pruned):
    """The change that prunes these entries of a block at the least rise of the loss, by the normal equations."""
    left = [i for i in range(len(weight)) if i not in pruned]
    change = torch.zeros_like(weight)
    change[pruned] = -weight[pruned]
    change[left] = torch.linalg.solve(fisher[left][:, left], -fisher[left][:, pruned] @ change[pruned])
    return change


@pytest.mark.parametrize("width", [1, 4])
def test_a_score_is_the_rise_of_the_loss_with_the_best_change_of_the_others_of_the_block(case, width):
    weight, gradients, fisher = case
    scores = inverse_of(gradients).scores(weight, width).flatten()
    flat = weight.flatten().double()
    for start in range(0, len(flat), width):
        first = start // BLOCK * BLOCK
        block = slice(first, first + BLOCK)
        pruned = list(range(start - first, start - first + width))
        change = best_change(fisher[block, block], flat[block], pruned)
        expected = rise(fisher[block, block], change).float()
        torch.testing.assert_close(scores[start : start + width], expected.expand(width), atol=1e-4, rtol=1e-4)


def test_pruned_weights_are_zero_and_the_others_change_as_costs_least(case):
    weight, gradients, fisher = case
    keep = torch.rand(ROWS, COLUMNS) > 0.5
    found = inverse_of(gradients).prune(weight, keep)
    assert (found[~keep] == 0).all()
    flat, mask = weight.flatten().double(), keep.flatten()
    for first in range(0, len(flat), BLOCK):
        block = slice(first, first + BLOCK)
        pruned = (~mask[block]).nonzero()[:, 0].tolist()
        expected = flat[block] + best_change(fisher[block, block], flat[block], pruned)
        torch.testing.assert_close(found.flatten()[block], expected.float(), atol=1e-4, rtol=1e-4)


def test_a_weight_that_does_not_fill_its_last_block_is_treated_alike():
    torch.manual_seed(0)
    weight, gradients = torch.randn(3, 7), torch.randn(20, 21)
    inverse = inverse_of(gradients)
    wider = torch.nn.functional.pad(gradients, (0, 3))
    expected = inverse_of(wider).scores(torch.nn.functional.pad(weight.flatten(), (0, 3)))
    torch.testing.assert_close(inverse.scores(weight).flatten(), expected[:21])
    keep = torch.rand(3, 7) > 0.5
    assert (inverse.prune(weight, keep)[~keep] == 0).all()


def test_without_gradients_between_weights_the_smallest_go_and_nothing_else_changes():
    weight = torch.tensor([3.0, -1.0, 2.0, 0.5])
    inverse = inverse_of(torch.eye(4).repeat(2, 1))
    assert inverse.scores(weight).argsort().tolist() == [3, 1, 2, 0]
    keep = torch.tensor([True, False, True, False])
    torch.testing.assert_close(inverse.prune(weight, keep), torch.tensor([3.0, 0.0, 2.0, 0.0]))
