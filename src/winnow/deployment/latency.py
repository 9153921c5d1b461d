"""How fast models run: several in one process and in turns, so that a machine that slows down slows all of them.

In each round every model runs on the same inputs for a while, each round beginning with another model; the median of
a model's calls is its time of that round. Ratios are taken within a round.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.deployment.engines import Engine
from winnow.machine import summarise


@dataclass(frozen=True)
class Timing:
    """A model at one batch size and length.

    Args:
        latency: seconds of a call: median, min and max of the rounds.
        throughput: samples per second, one call after the other.
        ratio: latency over that of the first model, round by round, summed up alike; below 1 is faster.
    """

    latency: dict[str, float]
    throughput: float
    ratio: dict[str, float]


def measure(
    engines: Mapping[str, Engine], *, batch_size: int, length: int, vocabulary: int, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds of a call of each engine in each round, on random tokens without padding.

    Args:
        engines: by name.
        length: in tokens.
        vocabulary: its size.
        rounds: counted after one that warms up.
        seconds: that each engine runs in a round, one call at least.
    """
    work = {}
    for name, engine in engines.items():
        inputs = token_inputs(engine.inputs, batch_size, length, vocabulary)
        work[name] = functools.partial(engine.run, inputs)
    return in_turns(work, rounds, seconds)


def token_inputs(names: Sequence[str], batch_size: int, length: int, vocabulary: int) -> dict[str, np.ndarray]:
    """The same random tokens at each call, ``(batch, seq)`` int64: all are attended to, and of the first segment."""
    shape = (batch_size, length)
    known = {
        "input_ids": np.random.default_rng(0).integers(vocabulary // 10, vocabulary, shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }
    return {name: known[name] for name in names}


def in_turns(work: Mapping[str, Callable[[], Any]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of a call of each piece of work, a value a round; one more round comes first and is not counted."""
    names = list(work)
    times: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds + 1):
        shift = i % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(_call_seconds(work[name], seconds))
    return {name: values[1:] for name, values in times.items()}


def _call_seconds(work: Callable[[], Any], seconds: float) -> float:
    work()  # its weights come back into the caches, and the threads of the one before go to sleep
    calls: list[float] = []
    while not calls or sum(calls) < seconds:
        started = time.perf_counter()
        work()
        calls.append(time.perf_counter() - started)
    return statistics.median(calls)


def timings(times: Mapping[str, Sequence[float]], batch_size: int) -> dict[str, Timing]:
    """Seconds of each model in each round, summed up; the first model is the unit of the ratios."""
    unit = next(iter(times.values()))
    return {
        name: Timing(summarise(values), batch_size / statistics.median(values), ratio(values, unit))
        for name, values in times.items()
    }


def ratio(times: Sequence[float], unit: Sequence[float]) -> dict[str, float]:
    """Of times to others, round by round."""
    return summarise([value / one for value, one in zip(times, unit, strict=True)])
