"""The columns of a results table: which figure they show, how it is written, and whether its best value is marked."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from winnow.reports.groups import Group, mean, same_latency_conditions, sd, smaller_is_better

_COUNTS = {"M": 1e6, "k": 1e3}
_TIMES = {"h": 3600.0, "min": 60.0, "s": 1.0}


@dataclass(frozen=True)
class Column:
    """A metric or a figure."""

    name: str  # as `Group.values` takes it; the title in tables for programs
    title: str  # in tables for people, with the unit
    factor: float = 1.0  # from fractions, bytes and seconds to this unit
    decimals: int = 2
    with_sd: bool = False
    best: Callable[[Iterable[float]], float] | None = None  # max or min if the best value of a task is marked

    def text(self, values: Sequence[float]) -> str:
        """The mean, and the standard deviation if there are several values."""
        deviation = sd(values) if self.with_sd else None
        spread = "" if deviation is None else f" ± {self.factor * deviation:.{self.decimals}f}"
        return self.number(mean(values)) + spread

    def number(self, value: float) -> str:
        """The value in the unit of people; never round a nonzero value to 0."""
        text = f"{self.factor * value:z.{self.decimals}f}"
        return f"{self.factor * value:.1g}" if value and not float(text) else text


def columns(groups: Sequence[Group]) -> list[Column]:
    """All columns that have a value in some group; groups of one task share units that people can read."""
    fastest = min if same_latency_conditions(groups) else None
    figures = [
        Column("recovery", "recovery, %", 100, with_sd=True, best=max),
        Column("sparsity", "encoder sparsity, %", 100),
        _in_unit(groups, "parameters", "parameters", _COUNTS, significant_digits=4),
        _in_unit(groups, "nonzero_parameters", "nonzero", _COUNTS, significant_digits=4),
        _in_unit(groups, "layers", "layers", {"": 1.0}, significant_digits=1),
        _in_unit(groups, "bytes", "size", {"MB": 1e6}, best=min),
        _in_unit(groups, "compressed_bytes", "compressed", {"MB": 1e6}, best=min),
        _in_unit(groups, "latency", "latency", {"ms": 1e-3}, with_sd=True, best=fastest),
        _in_unit(groups, "target_speedup", "speedup asked", {"times": 1.0}),
        _in_unit(groups, "speedup", "speedup measured", {"times": 1.0}, with_sd=True),
        _in_unit(groups, "epochs", "epochs", {"": 1.0}, significant_digits=1),
        _in_unit(groups, "train_seconds", "training", _TIMES, significant_digits=2),
    ]
    return [*_metrics(groups), *(column for column in figures if any(group.values(column.name) for group in groups))]


def percent(share: float) -> str:
    """In tenths, for ticks and labels; only a share of 1 is written as 100."""
    value = 100 * share
    return f"{round(value, 1):g}" if value < 99.9 or share >= 1 else f"{min(value, 99.99):.4g}"


def _metrics(groups: Sequence[Group]) -> Iterator[Column]:
    """In the task's order. With an exact match, as SQuAD has it, all are in percent, else they are fractions."""
    names = dict.fromkeys(name for group in groups for name in group.metrics)
    names |= dict.fromkeys(name for group in groups for row in group.published for name in row.metrics)
    in_percent = any(name.startswith("exact_match") for name in names)
    for name in names:
        decimals = 2 if in_percent or "perplexity" in name else 4
        best = min if smaller_is_better(name) else max
        yield Column(name, name, decimals=decimals, with_sd=True, best=best)


def _in_unit(
    groups: Sequence[Group],
    name: str,
    title: str,
    units: Mapping[str, float],
    *,
    significant_digits: int = 3,
    with_sd: bool = False,
    best: Callable[[Iterable[float]], float] | None = None,
) -> Column:
    """A column whose smallest figure has so many significant digits, in the largest unit that this figure reaches."""
    means = [mean(values) for group in groups if (values := group.values(name))]
    smallest = min((value for value in means if value > 0), default=1.0)
    unit, size = next((each for each in units.items() if smallest >= each[1]), [*units.items()][-1])
    decimals = max(0, significant_digits - 1 - math.floor(math.log10(smallest) - math.log10(size)))
    if all((value / size).is_integer() for value in means):
        decimals = 0
    return Column(name, f"{title}, {unit}" if unit else title, 1 / size, min(decimals, 4), with_sd, best)
