"""Learning-rate schedules: the rate before one optimizer step, from how many steps of a window are done."""

import math


def linear(progress: float, *, initial: float, final: float) -> float:
    """initial + progress * (final - initial); ``progress`` in [0, 1]."""
    return initial + progress * (final - initial)


def cosine(progress: float, *, initial: float, final: float) -> float:
    """Half a cosine wave from ``initial`` to ``final`` (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5)."""
    return final + 0.5 * (initial - final) * (1.0 + math.cos(math.pi * progress))


def cycle_progress(step: int, cycle_steps: int) -> float:
    """Fraction of its cycle done, in [0, 1]: 0 at the first step of each cycle, 1 at its last.

    Args:
        step: 0 is the first of the first cycle.
        cycle_steps: length of a cycle, at least 1; a cycle of one step stays at 0.
    """
    return step % cycle_steps / max(1, cycle_steps - 1)


def stepped(step: int, *, initial: float, gamma: float, every: int) -> float:
    """``initial`` times ``gamma`` once for ``every`` so many steps done."""
    return initial * gamma ** (step // every)


def warmed_up(step: int, warmup_steps: int) -> float:
    """Factor on the rate: 0 at the first step, 1 from ``warmup_steps`` on."""
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0
