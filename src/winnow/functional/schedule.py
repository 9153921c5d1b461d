"""Sparsity schedules: the fraction of weights that should be zero at one point of a pruning ramp."""

from collections.abc import Callable

SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "cubic": lambda x: 1.0 - (1.0 - x) ** 3,
    "inverse_cubic": lambda x: 1.0 - (1.0 - x) ** (1.0 / 3.0),
}


def scheduled_sparsity(progress: float, *, initial: float, final: float, shape: str = "cubic") -> float:
    """Sparsity of gradual magnitude pruning (GMP) at one point of its ramp.

    s(p) = initial + y(p) * (final - initial). ``cubic``, y = 1 - (1 - p)^3, prunes fast while weights
    are redundant and slowly near the target (Zhu & Gupta 2017, arXiv:1710.01878, eq. 1);
    ``linear``, y = p; ``inverse_cubic``, y = 1 - (1 - p)^(1/3), starts slowly.

    Args:
        progress: fraction of the ramp done; values outside [0, 1] are clamped.
        initial: sparsity at progress 0, a fraction in [0, 1).
        final: sparsity at progress 1, a fraction in [0, 1).
        shape: a key of ``SHAPES``.

    Returns:
        The fraction of weights that should be zero.
    """
    p = min(max(progress, 0.0), 1.0)
    return initial + SHAPES[shape](p) * (final - initial)
