"""Round a weight so that the outputs of its layer change least (GPTQ, Frantar et al. 2022, arXiv:2210.17323)."""

import torch
from torch import Tensor

_BLOCK = 128  # columns whose errors are added to the later columns in one product


def gptq(weight: Tensor, bias: Tensor | None, scale: Tensor, hessian: Tensor, low: int, high: int) -> Tensor | None:
    """Round a weight in place, column by column; the columns that follow make up for each error (algorithm 1).

    Weights that are zero stay zero. The bias, which belongs to a constant input, makes up for what is left.

    Args:
        weight: ``(out, in)``, replaced by values on its grid.
        bias: ``(out,)``; not changed.
        scale: of the grid with zero point 0, ``(out,)`` or ``(1,)``.
        hessian: ``(in + 1, in + 1)``, float64, positive definite, the constant last; see
            `winnow.functional.structured_pruning.damped`.
        low: smallest integer.
        high: largest integer.

    Returns:
        The new bias; None without one.
    """
    width = weight.size(1)
    if bias is None:
        hessian = hessian[:-1, :-1]
    columns = [weight] if bias is None else [weight, bias.unsqueeze(1)]
    rest = torch.cat(columns, dim=1).double().t().contiguous()  # (in + 1, out): columns are rows, contiguous
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    kept, scale = (weight != 0).t(), scale.double()
    for begin in range(0, width, _BLOCK):
        end = min(begin + _BLOCK, width)
        errors = torch.empty(end - begin, len(weight), dtype=torch.float64, device=weight.device)
        for i in range(begin, end):
            rounded = (rest[i] / scale).round_().clamp_(low, high).mul_(scale).mul_(kept[i])
            errors[i - begin] = (rest[i] - rounded) / factor[i, i]
            rest[i + 1 : end] -= torch.outer(factor[i, i + 1 : end], errors[i - begin])
            rest[i] = rounded
        rest[end:] -= factor[begin:end, end:].t() @ errors
    weight.copy_(rest[:width].t())
    return None if bias is None else rest[width].to(bias.dtype)
