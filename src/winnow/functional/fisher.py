"""The block-diagonal empirical Fisher matrix, and which weights cost the loss least by it.

Near a minimum the loss rises by half of d^T F d for a change d of the weights; F is the mean of g g^T over gradients g
of the loss. Only blocks along its diagonal are kept (The Optimal BERT Surgeon, Kurtic et al. 2022, arXiv:2203.07259,
section 3).
"""

import torch
from torch import Tensor

_AT_ONCE = 4096  # blocks that are inverted together


class BlockFisher:
    """The Fisher matrix of one weight, in blocks of neighbouring entries in the order of its rows.

    It is summed up and inverted once, which gives the same as the recursion of the paper (eq. 5, Woodbury).

    Args:
        numel: of the weight.
        block: entries in a block; the last block may have fewer, and is filled up.
    """

    def __init__(self, numel: int, block: int, device: torch.device) -> None:
        self._numel, self._block, self._count = numel, block, 0
        self._sums = torch.zeros(-(-numel // block), block, block, device=device)

    def add(self, gradients: Tensor) -> None:
        """Add gradients, ``(n, numel)``, float32."""
        padded = torch.nn.functional.pad(gradients, (0, self._sums.shape[0] * self._block - self._numel))
        columns = padded.view(len(gradients), -1, self._block).transpose(0, 1)  # (blocks, n, block)
        self._sums.baddbmm_(columns.transpose(1, 2), columns)
        self._count += len(gradients)

    def inverse(self, damping: float) -> "InverseFisher":
        """The inverse of the mean of g g^T with ``damping`` on its diagonal; the sums are used up."""
        for part in torch.split(self._sums, _AT_ONCE):
            matrix = part.double().div_(self._count)
            matrix.diagonal(dim1=1, dim2=2).add_(damping)
            part.copy_(torch.cholesky_inverse(torch.linalg.cholesky(matrix)))
        return InverseFisher(self._sums)


class InverseFisher:
    """The inverse of a `BlockFisher`.

    Args:
        blocks: ``(blocks, block, block)``, symmetric and positive definite.
    """

    def __init__(self, blocks: Tensor) -> None:
        self._blocks = blocks

    def scores(self, weight: Tensor, width: int = 1) -> Tensor:
        """By how much the loss rises if that weight alone is pruned, or, equal for its weights, that group.

        w^2 / (2 [F^-1]_ii), and for groups half of w_Q^T inv([F^-1]_QQ) w_Q, each with the best change of the others.

        Args:
            weight: of any shape; 0 costs nothing.
            width: neighbours that are pruned as one; divides the blocks.
        """
        values = self._in_blocks(weight)
        if width == 1:
            return self._as(values.square().div_(2 * self._blocks.diagonal(dim1=1, dim2=2)), weight)
        count = self._blocks.shape[1] // width
        scores = torch.empty_like(values)
        for place in range(count):
            part = slice(place * width, (place + 1) * width)
            factor = torch.linalg.cholesky(self._blocks[:, part, part])
            halves = torch.linalg.solve_triangular(factor, values[:, part, None], upper=False)
            scores[:, part] = halves.square().sum(dim=1) / 2
        return self._as(scores, weight)

    def prune(self, weight: Tensor, keep: Tensor) -> Tensor:
        """The weight after a mask prunes some, with the change of the others that costs the loss least.

        w - F^-1_Q inv([F^-1]_QQ) w_Q for the pruned weights Q of each block, eq. 4 for sets of weights; exactly 0 in Q.

        Args:
            weight: of any shape.
            keep: bool, the same shape.
        """
        values, kept = self._in_blocks(weight), self._in_blocks(keep.to(weight.dtype)).bool()
        parts = (torch.split(blocks, _AT_ONCE) for blocks in (self._blocks, values, kept))
        for part, w, k in zip(*parts, strict=True):
            inverse, pruned = part.double(), (~k).double()
            system = inverse * (pruned[:, :, None] * pruned[:, None, :])
            system.diagonal(dim1=1, dim2=2).add_(k.double())
            solved = torch.cholesky_solve((w * pruned)[:, :, None], torch.linalg.cholesky(system))
            w.sub_((inverse @ solved)[:, :, 0]).masked_fill_(~k, 0.0)
        return self._as(values, weight)

    def _in_blocks(self, weight: Tensor) -> Tensor:
        """A copy of a weight, ``(blocks, block)``, filled up with zeros."""
        flat = weight.detach().flatten()
        size = self._blocks.shape[0] * self._blocks.shape[1]
        return torch.nn.functional.pad(flat, (0, size - len(flat))).view(-1, self._blocks.shape[1])

    @staticmethod
    def _as(values: Tensor, weight: Tensor) -> Tensor:
        return values.flatten()[: weight.numel()].view(weight.shape)
