"""Which heads or neurons a layer can lose at the least error, and the weights that make up for them, in float64.

A structure is a group of neighbouring inputs of a linear layer: the outputs of a head, or one neuron. The error of a
layer is the squared distance of its outputs from those of the dense layer, summed over tokens and outputs. It depends
on the inputs only through their Hessian H = sum of x x^T over tokens, where x ends with a constant 1, so that the bias
makes up for the means of what is removed (Optimal Brain Surgeon, Hassibi & Stork 1992; for layers, OBC,
arXiv:2208.11580; for structures, ZipLM, arXiv:2302.04089).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from winnow.functional.ranking import on_cpu

_TINY = 1e-8  # keeps the Hessian of inputs that are all zero positive definite


@dataclass(frozen=True)
class RemovalOrder:
    """Structures in the order in which they are removed, and what that costs.

    Args:
        order: every structure once, the first one removed first.
        errors: ``(structures + 1,)``, float64 on the CPU: the error after 0, 1, ... removals; starts at 0, never falls.
    """

    order: list[int]
    errors: Tensor

    def kept(self, count: int) -> list[int]:
        """The ``count`` structures that are removed last, ascending."""
        return sorted(self.order[len(self.order) - count :])


def add_inputs(hessian: Tensor, inputs: Tensor) -> None:
    """Add the inputs of a layer to its Hessian, in place.

    Args:
        hessian: ``(width + 1, width + 1)``, float64; the last row and column are those of the constant.
        inputs: ``(tokens, width)`` of any float type, without padding.
    """
    x = inputs.detach().double()
    # On a CPU numpy computes only half of this symmetric product: twice as fast as torch.
    hessian[:-1, :-1] += torch.from_numpy(x.numpy().T @ x.numpy()) if on_cpu([x]) else x.T @ x
    sums = x.sum(dim=0)
    hessian[-1, :-1] += sums
    hessian[:-1, -1] += sums
    hessian[-1, -1] += len(x)


def damped(hessian: Tensor, fraction: float = 0.01) -> Tensor:
    """The Hessian with ``fraction`` of its mean diagonal on the diagonal, as in OBC, which makes it positive definite.

    The constant is neither part of the mean nor damped, so that the bias stays free.
    """
    result = hessian.clone()
    diagonal = result.diagonal()
    diagonal[:-1] += fraction * diagonal[:-1].mean()
    diagonal += _TINY
    return result


def removal_order(weight: Tensor, hessian: Tensor, width_of_group: int, at_once: int) -> RemovalOrder:
    """Remove the groups that cost least, make up for them with the others, and repeat until none is left.

    A group g costs the trace of W_g inv((H^-1)_gg) W_g^T, and its removal changes the others by
    -W_g inv((H^-1)_gg) (H^-1)_g: Optimal Brain Surgeon for groups, as in ZipLM. The bias is never removed: it always
    makes up for the means, so neither order nor errors depend on it.

    Args:
        weight: ``(out, groups * width_of_group)``, any float type; not changed.
        hessian: positive definite, see `damped`; not changed.
        width_of_group: inputs of one structure: the size of a head, or 1 for neurons.
        at_once: groups that are removed before costs are computed anew.

    Returns:
        The order with the error of each number of removals under the given Hessian, each after the best refit.

    Raises:
        torch.linalg.LinAlgError: if the Hessian is not positive definite.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(_centred(hessian)[0]))
    columns = weight.detach().T.to(hessian).clone(memory_format=torch.contiguous_format)  # (inputs, out)
    left = torch.arange(len(columns) // width_of_group, device=hessian.device)
    order, steps = [], [columns.new_zeros(1)]
    while len(left):
        first = _costs(columns, inverse, width_of_group).argsort(stable=True)[:at_once]
        stays = len(left) - len(first)
        _move_to_end(first, width_of_group, left, columns, inverse)
        split = stays * width_of_group
        # Of the removed groups, L^-1 W_g^T and L^-1 (H^-1)_g, with L L^T = (H^-1)_gg: their products are the updates,
        # and the squares of the first are the costs of removing these groups one after another.
        lower = torch.linalg.cholesky(inverse[split:, split:])
        removed = torch.linalg.solve_triangular(lower, columns[split:], upper=False)
        others = torch.linalg.solve_triangular(lower, inverse[split:, :split], upper=False)
        columns, inverse = columns[:split], inverse[:split, :split]
        columns.addmm_(others.T, removed, alpha=-1)
        inverse.addmm_(others.T, others, alpha=-1)
        order += left[stays:].tolist()
        steps.append(removed.square().reshape(len(first), -1).sum(dim=1))
        left = left[:stays]
    return RemovalOrder(order, torch.cat(steps).cumsum(0).cpu())


class Refits:
    """The weights of kept groups and the bias that give the least error without the others, for nested choices.

    W_K = W C[:, K] inv(C[K, K]), where C is the Hessian of the inputs without their means; the bias makes up for the
    means. This is W_K = (W H[:, K]) inv(H[K, K]) with the constant among K. With the groups in the order in which they
    are kept, all choices share one Cholesky factor of C: its leading part is that of the first groups.

    Args:
        weight: ``(out, groups * width_of_group)``, of the dense layer.
        bias: ``(out,)``, of the dense layer.
        hessian: positive definite, see `damped`.
        groups: those that may be kept; the ones kept longest come first.

    Raises:
        torch.linalg.LinAlgError: if the Hessian is not positive definite.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, hessian: Tensor, groups: Sequence[int], width_of_group: int
    ) -> None:
        dense, self._width = weight.detach().to(hessian), width_of_group
        scatter, means = _centred(hessian)
        self._columns = _columns(torch.tensor(groups, dtype=torch.long, device=hessian.device), width_of_group)
        self._means = means[self._columns]
        self._constant = bias.detach().to(hessian) + dense @ means
        self._factor = torch.linalg.cholesky(scatter[self._columns][:, self._columns])
        products = (dense @ scatter[:, self._columns]).T
        self._half = torch.linalg.solve_triangular(self._factor, products, upper=False)  # half of the solution

    def keep(self, count: int) -> tuple[Tensor, Tensor]:
        """The refit with the first ``count`` groups; none: the bias alone is fitted.

        Returns:
            The weight, ``(out, count * width_of_group)``, the groups in ascending order, and the bias, ``(out,)``; both
            in float64.
        """
        size = count * self._width
        factor = self._factor[:size, :size].T
        fitted = torch.linalg.solve_triangular(factor, self._half[:size], upper=True).T
        return fitted[:, self._columns[:size].argsort()], self._constant - fitted @ self._means[:size]


def order_by_scores(scores: Tensor) -> RemovalOrder:
    """Remove the lowest score first; the error is the sum of the scores of what is removed.

    With the Fisher information of masks as scores this is the search of Kwon et al. 2022 (arXiv:2204.09656).

    Args:
        scores: ``(groups,)``, at least 0.
    """
    ascending, order = scores.detach().double().cpu().sort(stable=True)
    return RemovalOrder(order.tolist(), torch.cat([ascending.new_zeros(1), ascending.cumsum(0)]))


def _centred(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """The Hessian of the inputs without their means, ``(width, width)``, and the means, ``(width,)``.

    It is the Schur complement of the constant: to eliminate the bias leaves it.
    """
    means = hessian[-1, :-1] / hessian[-1, -1]
    return torch.addr(hessian[:-1, :-1], hessian[:-1, -1], means, alpha=-1), means


def _costs(columns: Tensor, inverse: Tensor, width: int) -> Tensor:
    """The error that the removal of each group alone adds, ``(groups,)``."""
    if width == 1:
        squares: Tensor = torch.linalg.vector_norm(columns, dim=1).square_()
        return squares / inverse.diagonal()
    count = len(columns) // width
    blocks = inverse.view(count, width, count, width).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    halves = torch.linalg.solve_triangular(torch.linalg.cholesky(blocks), columns.view(count, width, -1), upper=False)
    costs: Tensor = halves.square().sum(dim=(1, 2))
    return costs


def _columns(groups: Tensor, width: int) -> Tensor:
    """The inputs of groups, ``(groups * width,)``."""
    return (groups[:, None] * width + torch.arange(width, device=groups.device)).flatten()


def _move_to_end(groups: Tensor, width: int, left: Tensor, columns: Tensor, inverse: Tensor) -> None:
    """Reorder in place so that the groups at these places come last, in their order: then slices remove them."""
    end = torch.arange(len(left) - len(groups), len(left), device=left.device)
    places = torch.cat([groups[groups < end[0]], end])
    movers = torch.cat([end[~torch.isin(end, groups)], groups])
    left[places] = left[movers]
    to, source = _columns(places, width), _columns(movers, width)
    columns[to] = columns[source]
    inverse[to] = inverse[source]
    inverse[:, to] = inverse[:, source]
