"""The columns of a results table: where a figure comes from, how it is written, and whether one of a column is best."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from winnow.reports.cells import Cell, Statistic, one_machine, smaller_is_better

_COUNTS = {"M": 1e6, "k": 1e3}
_TIMES = {"h": 3600, "min": 60, "s": 1}


@dataclass(frozen=True)
class Column:
    """A measured figure.

    Args:
        name: in machine-readable tables, where it stands in its plain unit: fractions, bytes, seconds.
        title: in tables for people, with the unit in which they read it.
        statistic: of a cell; None where it was not measured.
        factor: from the plain unit to theirs.
        decimals: that they see.
        spread: they see the deviation too.
        best: ``max`` or ``min`` where the best of a task is worth a mark.
    """

    name: str
    title: str
    statistic: Callable[[Cell], Statistic | None]
    factor: float = 1.0
    decimals: int = 2
    spread: bool = False
    best: Callable[[Iterable[float]], float] | None = None

    def text(self, statistic: Statistic) -> str:
        """The mean, and the deviation where there are several seeds."""
        deviation = statistic.deviation if self.spread else None
        spread = "" if deviation is None else f" ± {self.factor * deviation:.{self.decimals}f}"
        return self.number(statistic.mean) + spread

    def number(self, value: float) -> str:
        """What is not zero never looks as if it were."""
        text = f"{self.factor * value:z.{self.decimals}f}"
        return f"{self.factor * value:.1g}" if value and not float(text) else text


def columns(cells: Sequence[Cell]) -> list[Column]:
    """The columns of some cells; those that none of them has are left out. To be shown, they are of one task."""
    figures = [
        Column("recovery", "recovery, %", attrgetter("recovery"), 100, spread=True, best=max),
        Column("sparsity", "encoder sparsity, %", attrgetter("sparsity"), 100),
        _in_unit(cells, "parameters", "parameters", _COUNTS, digits=4),
        _in_unit(cells, "nonzero_parameters", "not zero", _COUNTS, digits=4),
        _in_unit(cells, "layers", "layers", {}, digits=1),
        _in_unit(cells, "bytes", "size", {"MB": 1e6}, best=min),
        _in_unit(cells, "compressed_bytes", "packed", {"MB": 1e6}, best=min),
        _in_unit(cells, "latency", "latency", {"ms": 1e-3}, spread=True, best=min if one_machine(cells) else None),
        _in_unit(cells, "epochs", "epochs", {}, digits=1),
        _in_unit(cells, "train_seconds", "training", _TIMES, digits=2),
    ]
    return [*_metrics(cells), *(column for column in figures if any(column.statistic(cell) for cell in cells))]


def percent(share: float) -> str:
    """In tenths, as ticks have no room for more; what is not whole is never 100."""
    value = 100 * share
    return f"{round(value, 1):g}" if value < 99.9 or share >= 1 else f"{min(value, 99.99):.4g}"


def _metrics(cells: Sequence[Cell]) -> list[Column]:
    """In the task's order; SQuAD's are in percent, as is every F1 beside an exact match, others are fractions."""
    ours = dict.fromkeys(name for cell in cells for name in cell.metrics)
    theirs = dict.fromkeys(name for cell in cells for each in cell.published for name in each.metrics)
    names = [*ours, *(name for name in theirs if name not in ours)]
    percent = any(name.startswith("exact_match") for name in names)
    return [
        Column(
            name,
            name,
            partial(_metric, name),
            decimals=2 if percent or "perplexity" in name else 4,
            spread=True,
            best=min if smaller_is_better(name) else max,
        )
        for name in names
    ]


def _metric(name: str, cell: Cell) -> Statistic | None:
    return cell.metrics.get(name)


def _in_unit(
    cells: Sequence[Cell],
    name: str,
    title: str,
    units: Mapping[str, float],
    *,
    digits: int = 3,
    spread: bool = False,
    best: Callable[[Iterable[float]], float] | None = None,
) -> Column:
    """A column whose smallest figure has so many significant digits, in the largest unit that it reaches."""
    found = [statistic for cell in cells if (statistic := getattr(cell, name))]
    means = [statistic.mean for statistic in found if statistic.mean > 0]
    smallest = min(means, default=1.0)
    known = list(units.items()) or [("", 1.0)]
    unit, size = next((each for each in known if smallest >= each[1]), known[-1])
    decimals = max(0, digits - 1 - math.floor(math.log10(smallest) - math.log10(size)))
    if all((statistic.mean / size).is_integer() for statistic in found):
        decimals = 0
    label = f"{title}, {unit}" if unit else title
    return Column(name, label, attrgetter(name), 1 / size, min(decimals, 4), spread, best)
