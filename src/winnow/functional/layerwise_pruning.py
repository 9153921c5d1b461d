"""Which weights of a linear layer cost least to prune, and the least-squares refit of those that stay, in float64.

The error of a layer is the squared distance of its outputs from given ones, summed over tokens. It depends on the
inputs only through their Hessian, see `winnow.functional.structured_pruning.add_inputs` (Optimal Brain Surgeon, Hassibi
& Stork 1992; for layers, OBC, arXiv:2208.11580).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_BYTES_AT_ONCE = 2**28  # of the systems that are solved together


@dataclass
class Inputs:
    """Sums over the tokens of a layer, float64: of its inputs x, and of the inputs z that it had in another model.

    Args:
        scatter: ``(width, width)``, of x x^T.
        products: ``(width, width)``, of z x^T.
        sums: ``(width,)``, of x.
        other_sums: ``(width,)``, of z.
        tokens: how many.
    """

    scatter: Tensor
    products: Tensor
    sums: Tensor
    other_sums: Tensor
    tokens: int = 0

    @classmethod
    def of_width(cls, width: int, device: torch.device) -> "Inputs":
        square, line = (torch.zeros(shape, dtype=torch.float64, device=device) for shape in ((width, width), (width,)))
        return cls(square, square.clone(), line, line.clone())

    def add(self, inputs: Tensor, others: Tensor) -> None:
        """Add the inputs of some tokens, ``(tokens, width)`` each, of any float type, without padding.

        Products of one call are computed in float32, twice as fast; the damping is far above their rounding.
        """
        x, z = inputs.detach().float(), others.detach().float()
        self.scatter += x.T @ x
        self.products += z.T @ x
        self.sums += x.sum(dim=0)
        self.other_sums += z.sum(dim=0)
        self.tokens += len(x)


class LayerErrors:
    """The error of a linear layer that loses weights, with the best bias; its Hessian is damped as in OBC.

    Args:
        weight: ``(out, width)``, of the layer with all its weights.
        bias: ``(out,)``; None in a layer without.
        inputs: of the layer; the wanted outputs are those of the other inputs.
        damping: fraction of the mean diagonal that is added to the diagonal, and holds the weights where they are.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, inputs: Inputs, damping: float = 0.01) -> None:
        absorbed = 0.0 if bias is None else 1.0 / inputs.tokens  # a bias makes up for the means
        self._means, other_means = absorbed * inputs.sums, absorbed * inputs.other_sums
        dense = weight.detach().to(self._means)
        self._constant = dense @ other_means + (0.0 if bias is None else bias.detach())
        self._hessian = torch.addr(inputs.scatter, inputs.sums, self._means, alpha=-1)
        products = dense @ torch.addr(inputs.products, inputs.other_sums, self._means, alpha=-1)
        diagonal = self._hessian.diagonal()
        added = damping * diagonal.mean() + 1e-8
        diagonal += added
        self._products = products.add_(dense, alpha=float(added))
        factor = torch.linalg.cholesky(self._hessian)
        self._inverse = torch.cholesky_inverse(factor)
        self._fitted = torch.cholesky_solve(self._products.T, factor).T  # with all weights

    def scores(self, weight: Tensor, block: int = 1) -> Tensor:
        """What pruning costs that weight alone, or, equal for its weights, that block of weights in a row.

        w^2 / [H^-1]_ii, and w_B^T inv([H^-1]_BB) w_B: twice the saliency of OBS.

        Args:
            weight: ``(out, width)``: those that count; 0 costs nothing.
            block: weights in a block.
        """
        columns = weight.detach().to(self._inverse)
        if block == 1:
            return columns.square() / self._inverse.diagonal()
        count = len(self._inverse) // block
        blocks = self._inverse.view(count, block, count, block).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        values = columns.view(len(columns), count, block).permute(1, 2, 0)  # (blocks, block, out)
        halves = torch.linalg.solve_triangular(torch.linalg.cholesky(blocks), values, upper=False)
        scores: Tensor = halves.square().sum(dim=1).T.repeat_interleave(block, dim=1)
        return scores

    def refit(self, keep: Tensor) -> tuple[Tensor, Tensor]:
        """The weights and the bias with the least error where a mask prunes the others.

        Args:
            keep: ``(out, width)``, bool.

        Returns:
            ``(out, width)`` and ``(out,)``, float64; the second is 0 in a layer without a bias.
        """
        weight = torch.zeros_like(self._fitted)
        counts = keep.sum(dim=1)
        order = counts.argsort(stable=True)
        width = keep.shape[1]
        start = 0
        while start < len(order):
            # rows of like counts are solved together; by the kept weights or by the pruned ones, whichever are fewer
            count = int(counts[order[start]])
            by_kept = count <= width // 2
            end = start + max(1, _BYTES_AT_ONCE // (8 * max(1, min(count, width - count)) ** 2))
            rows = order[start:end]
            rows = rows[(counts[rows] <= width // 2) == by_kept]
            weight[rows] = self._by_kept(rows, keep[rows]) if by_kept else self._by_pruned(rows, ~keep[rows])
            start += len(rows)
        return weight, self._constant - weight @ self._means

    def _by_kept(self, rows: Tensor, keep: Tensor) -> Tensor:
        """w_K = [W H]_K inv(H_KK)."""
        places, real = _places(keep)
        found = _solve(self._hessian, places, real, self._products[rows].gather(1, places))
        return torch.zeros_like(self._products[rows]).scatter_add_(1, places, found)

    def _by_pruned(self, rows: Tensor, pruned: Tensor) -> Tensor:
        """w - w_P inv([H^-1]_PP) [H^-1]_P, exactly 0 in P."""
        places, real = _places(pruned)
        fitted = self._fitted[rows]
        found = _solve(self._inverse, places, real, fitted.gather(1, places))
        spread = torch.zeros_like(fitted).scatter_add_(1, places, found)
        return (fitted - spread @ self._inverse).masked_fill_(pruned, 0.0)


def _places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The columns that a mask marks in each row, ``(rows, most)``, and which of these are real, not filled up."""
    most = int(mask.sum(dim=1).max())
    places = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return places, mask.gather(1, places)


def _solve(matrix: Tensor, places: Tensor, real: Tensor, values: Tensor) -> Tensor:
    """For each row the solution of the system of a part of a symmetric matrix; 0 where places are not real."""
    if not places.shape[1]:
        return values
    width, most = len(matrix), places.shape[1]
    extended = torch.eye(width + most).to(matrix)  # a place that is not real is an equation x = 0
    extended[:width, :width] = matrix
    columns = torch.where(real, places, torch.arange(width, width + most, device=places.device))
    factor = torch.linalg.cholesky(extended[columns[:, :, None], columns[:, None, :]])
    return torch.cholesky_solve((values * real)[:, :, None], factor)[:, :, 0]
