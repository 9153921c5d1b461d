"""Latency of several models in one process, measured in turns, so that a slowdown of the machine affects all of them.

In each round every model runs on the same inputs for some time, and each round starts with another model. The time of
a model in a round is the median of its calls; ratios are computed within a round.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from winnow.deployment.engines import Engine
from winnow.machine import summarise

Name = TypeVar("Name")


@dataclass(frozen=True)
class Timing:
    """Timing of a model at one batch size and length.

    Args:
        latency: seconds of a call: median, min and max over the rounds.
        throughput: samples per second, without parallel calls.
        ratio: latency divided by that of the first model: median, min and max over the rounds; below 1 is faster.
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
        rounds: after a round of warm-up.
        seconds: for which each engine runs in a round, with at least one call.
    """
    work = {}
    for name, engine in engines.items():
        inputs = token_inputs(engine.inputs, batch_size, length, vocabulary)
        work[name] = functools.partial(engine.run, inputs)
    return in_turns(work, rounds, seconds)


def token_inputs(names: Sequence[str], batch_size: int, length: int, vocabulary: int) -> dict[str, np.ndarray]:
    """The same random tokens for each call, ``(batch, seq)`` int64, without padding, all in the first segment."""
    shape = (batch_size, length)
    known = {
        "input_ids": np.random.default_rng(0).integers(vocabulary // 10, vocabulary, shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }
    return {name: known[name] for name in names}


def in_turns(
    work: Mapping[Name, Callable[[], Any]],
    rounds: int,
    seconds: float,
    of_calls: Callable[[Sequence[float]], float] = statistics.median,
) -> dict[Name, list[float]]:
    """Seconds of a call, for each function and round; a round of warm-up comes first and is not counted.

    Args:
        work: by name; a function that returns a float has measured its seconds itself, in another process.
        rounds: after that of warm-up.
        seconds: for which each function runs in a round, with at least one call.
        of_calls: the seconds of a round from those of its calls.
    """
    names = list(work)
    times: dict[Name, list[float]] = {name: [] for name in names}
    for i in range(rounds + 1):
        shift = i % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(of_calls(_call_seconds(work[name], seconds)))
    return {name: values[1:] for name, values in times.items()}


def _call_seconds(work: Callable[[], Any], seconds: float) -> list[float]:
    work()  # warm-up: loads weights into the caches, lets the threads of the previous model go idle
    calls: list[float] = []
    while not calls or sum(calls) < seconds:
        started = time.perf_counter()
        found = work()
        calls.append(found if isinstance(found, float) else time.perf_counter() - started)
    return calls


def timings(times: Mapping[str, Sequence[float]], batch_size: int) -> dict[str, Timing]:
    """Summaries of the seconds of each model in each round; ratios are to the first model."""
    reference = next(iter(times.values()))
    return {
        name: Timing(summarise(values), batch_size / statistics.median(values), ratio(values, reference))
        for name, values in times.items()
    }


def ratio(times: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Ratios of times to reference times, round by round, summarised."""
    return summarise([value / other for value, other in zip(times, reference, strict=True)])
