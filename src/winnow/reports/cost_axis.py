"""The axes of a picture of a metric against a cost."""

from collections.abc import Iterable, Sequence
from typing import Any

from winnow.reports.columns import percent
from winnow.reports.pareto import PARAMETERS, SPARSITY, Cost

_TICKS = (0, 20, 40, 50, 60, 70, 80, 90, 95, 97, 98, 99, 99.5, 99.9)  # of sparsity, in percent


def scale(ax: Any, cost: Cost, metric: str, values: Iterable[float]) -> None:
    """Name and set both axes, once everything but the words is drawn.

    Args:
        values: the costs of the points, at which sparsity has its ticks.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.margins(x=0.07, y=0.12)
    if cost is SPARSITY:  # weights that are left, in equal steps of their logarithm: 80, 90 and 95 % lie side by side
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.xaxis.set_major_locator(FixedLocator(_ticks(ax, sorted(values))))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda left, _: percent(1 - left)))
    elif cost is not PARAMETERS:
        ax.set_xlim(left=0)
    ax.set_xlabel(cost.axis)
    ax.set_ylabel(metric)
    ax.set_ylim(ax.get_ylim())
    ax.set_xlim(ax.get_xlim())


def _ticks(ax: Any, values: Sequence[float]) -> list[float]:
    """Weights left, at the points and at round sparsities, as far as their numbers do not touch."""
    most, least = ax.get_xlim()
    places: dict[float, float] = {}
    for left in (*values, *(1 - sparsity / 100 for sparsity in _TICKS)):
        place = float(ax.transData.transform((left, 0))[0])
        if least <= left <= most and all(abs(place - other) > 24 * _unit(ax) for other in places.values()):
            places[left] = place
    return list(places)


def _unit(ax: Any) -> float:
    return float(ax.figure.dpi / 72)
