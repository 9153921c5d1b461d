"""Learning-rate schedules: the rate at one point of a decay."""

import math


def linear(progress: float, *, initial: float, final: float) -> float:
    """initial + progress * (final - initial); ``progress`` is the fraction of the decay done, in [0, 1]."""
    return initial + progress * (final - initial)


def cosine(progress: float, *, initial: float, final: float) -> float:
    """Half a cosine wave from ``initial`` to ``final`` (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5)."""
    return final + 0.5 * (initial - final) * (1.0 + math.cos(math.pi * progress))
