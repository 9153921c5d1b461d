"""The axes of a picture of a metric against a cost."""

from typing import Any

import numpy as np

from src.reports.pareto import PARAMETERS, SPARSITY, Cost

_TICKS = (0, 20, 40, 50, 60, 70, 80, 90, 95, 97, 98, 99, 99.5, 99.9)  # of sparsity, in percent


def scale(ax: Any, cost: Cost, metric: str) -> None:
    """Name and set both axes, once everything but the words is drawn."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.margins(x=0.07, y=0.12)
    if cost is SPARSITY:  # weights that are left, in equal steps of their logarithm: 80, 90 and 95 % lie side by side
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.xaxis.set_major_locator(FixedLocator(_ticks(ax)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda left, _: f"{100 * (1 - left):.4g}"))
    elif cost is not PARAMETERS:
        ax.set_xlim(left=0)
    ax.set_xlabel(cost.axis)
    ax.set_ylabel(metric)
    ax.set_ylim(ax.get_ylim())
    ax.set_xlim(ax.get_xlim())


def _ticks(ax: Any) -> list[float]:
    """Weights left at round sparsities, those that would touch the one before left out."""
    most, least = ax.get_xlim()
    ticks: list[float] = []
    for percent in _TICKS:
        left = 1 - percent / 100
        far = not ticks or abs(np.subtract(*ax.transData.transform([(left, 0), (ticks[-1], 0)]))[0]) > 24 * _unit(ax)
        if least <= left <= most and far:
            ticks.append(left)
    return ticks


def _unit(ax: Any) -> float:
    return float(ax.figure.dpi / 72)
