"""Fake quantisation: round values to a grid of integers, with a gradient (Jacob et al. 2018, arXiv:1712.05877)."""

from typing import Any

import torch
from torch import Tensor

_EPS = torch.finfo(torch.float32).eps  # the smallest scale, used for values that are all zero
INT32 = (-(2**31) + 128, 2**31 - 128)  # the largest range of int32 that float32 represents exactly


def asymmetric_grid(minimum: Tensor, maximum: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Scale and zero point of a grid of the integers ``low`` to ``high`` over a range; 0.0 is on the grid.

    scale = (max - min) / (high - low), zero_point = low - round(min / scale), where min <= 0 <= max (eq. 1 and 12).

    Args:
        minimum: of the values; above 0 it counts as 0.
        maximum: of the values; below 0 it counts as 0.

    Returns:
        The scale, and the zero point (int32), the integer that represents 0.0.
    """
    minimum, maximum = minimum.clamp(max=0.0), maximum.clamp(min=0.0)
    scale = ((maximum - minimum) / (high - low)).clamp(min=_EPS)
    zero_point = (low - torch.round(minimum / scale)).clamp(low, high)
    return scale, zero_point.to(torch.int32)


def symmetric_scale(largest: Tensor, low: int, high: int) -> Tensor:
    """Scale of a grid with zero point 0 for values up to ``largest`` in magnitude: largest / ((high - low) / 2)."""
    return (2.0 * largest / (high - low)).clamp(min=_EPS)


def grid_codes(x: Tensor, scale: Tensor, zero_point: Tensor | None, low: int, high: int) -> Tensor:
    """The integers to which values are rounded, half to even as in ONNX's QuantizeLinear; float32.

    Args:
        zero_point: None stands for 0.
    """
    zero = 0 if zero_point is None else zero_point
    return _steps(x, scale, low - zero, high - zero).add_(zero)


def fake_quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor | None, low: int, high: int, *, covered: bool = False
) -> Tensor:
    """Values rounded to their grid: (clamp(round(x / scale) + zero_point, low, high) - zero_point) * scale.

    The gradient is that of the identity (straight-through estimator, Bengio et al. 2013, arXiv:1308.3432), except for
    values more than one grid step outside the range, whose gradient is 0.

    Args:
        x: float32, bfloat16 or float16.
        scale: of a shape that broadcasts with ``x``.
        zero_point: like ``scale``; None stands for 0.
        covered: no value is more than one grid step outside the range, so nothing is kept for the gradient.

    Returns:
        The shape and type of ``x``.
    """
    rounded: Tensor = _FakeQuantize.apply(x, scale, zero_point, low, high, covered)  # type: ignore[no-untyped-call]  # torch's
    return rounded


def _steps(x: Tensor, scale: Tensor, low: Any, high: Any) -> Tensor:
    """clamp(round(x / scale), low, high), float32."""
    return _divided(x, scale).round_().clamp_(low, high)


def _divided(x: Tensor, scale: Tensor) -> Tensor:
    """``x / scale`` in new float32 memory, allocated once: that costs more than the arithmetic on it."""
    return x / scale if x.dtype == torch.float32 else x.float().div_(scale)


def _number(value: Tensor) -> Tensor | float:
    """A single value as a Python number where that costs nothing: on a CPU, outside of a compiled graph.

    There clamping takes ten times as long with tensors as with numbers.
    """
    if value.numel() > 1 or value.device.type != "cpu" or torch.compiler.is_compiling():
        return value
    return value.item()


class _FakeQuantize(torch.autograd.Function):
    """Whole-tensor operations, which on a CPU are several times faster than torch.fake_quantize_per_tensor_affine."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor | None, low: int, high: int, covered: bool
    ) -> Tensor:
        zero: Any = 0 if zero_point is None else _number(zero_point)
        step = _number(scale)
        ctx.covered = covered
        if ctx.needs_input_grad[0] and not covered:
            if isinstance(step, float):
                ctx.save_for_backward(x)
                ctx.bounds = ((low - 1 - zero) * step, (high + 1 - zero) * step)
            else:  # copies, because an observer may move both before backward
                ctx.save_for_backward(x, scale.clone(), None if zero_point is None else zero_point.clone())
                ctx.bounds = (low - 1.0, high + 1.0)
        return _steps(x, scale, low - zero, high - zero).mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        if not ctx.covered:
            x, *grid = ctx.saved_tensors
            if grid:
                scale, zero_point = grid
                place = _divided(x, scale)
                x = (place if zero_point is None else place.add_(zero_point)).to(grad.dtype)
            grad = torch.ops.aten.hardtanh_backward(grad, x, *ctx.bounds)
        return grad, None, None, None, None, None
