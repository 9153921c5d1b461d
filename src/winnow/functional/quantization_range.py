"""The range of a quantisation grid with the least squared error, from a weighted histogram of the values.

Values are counted as their nearest bfloat16, of which there are 65,536: no range has to be known before.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 65_536
_STEPS = 100  # candidates for each end of the range


def histogram(values: Tensor, weights: Tensor) -> Tensor:
    """The sum of the weights of each value, ``(65536,)``, float64; the index is the bit pattern of the bfloat16.

    Args:
        values: any shape and float type.
        weights: of the same shape, 0 or more.
    """
    bins = values.to(torch.bfloat16).contiguous().view(torch.int16).long() & (BINS - 1)
    return torch.bincount(bins.flatten(), weights.double().flatten(), minlength=BINS)


def least_error_range(counts: Tensor, levels: int) -> tuple[float, float] | None:
    """The range of a grid with the least weighted squared error of rounding and clipping.

    A value of weight w costs w x^2 if it is rounded to 0, w (x - end)^2 if it is clipped to an end of the range, and
    otherwise w step^2 / 12, the mean over a step.

    Args:
        counts: as `histogram` returns it, or a sum of several.
        levels: steps of the grid between its ends, 255 for 8 bits.

    Returns:
        Minimum and maximum, among hundredths of those of the values and with 0 between; None if all values with a
        weight are 0.
    """
    values = torch.arange(BINS, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).double().to(counts.device)
    present = (counts > 0) & values.isfinite() & (values != 0)  # 0.0 is on every grid
    order = values[present].argsort()
    x, weights = values[present][order], counts[present][order]
    if not len(x):
        return None
    fractions = torch.arange(1, _STEPS + 1, dtype=torch.float64, device=x.device) / _STEPS
    minimum = x[0].clamp(max=0.0) * fractions[:, None]  # (steps, 1)
    maximum = x[-1].clamp(min=0.0) * fractions[None, :]  # (1, steps)
    sums = torch.stack([weights, weights * x, weights * x * x])
    sums = F.pad(sums.cumsum(1), (1, 0))  # (3, values + 1): those of the values before each one

    def below(bound: Tensor) -> Tensor:  # (3, *bound.shape)
        return sums[:, torch.searchsorted(x, bound.contiguous())]

    def clipped(part: Tensor, end: Tensor) -> Tensor:
        return part[2] - 2 * end * part[1] + end * end * part[0]

    low, high = below(minimum), below(maximum)
    step = (maximum - minimum) / levels  # (steps, steps)
    to_zero = below(torch.minimum(step / 2, maximum)) - below(torch.maximum(-step / 2, minimum))
    rounded = (high - low - to_zero)[0] * step**2 / 12 + to_zero[2]
    error = clipped(low, minimum) + clipped(sums[:, -1, None, None] - high, maximum) + rounded
    best = divmod(int(error.argmin()), _STEPS)
    return float(minimum[best[0], 0]), float(maximum[0, best[1]])
