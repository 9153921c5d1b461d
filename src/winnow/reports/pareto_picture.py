"""A metric against a cost: points with error bars, families as lines, the Pareto front as a band behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from winnow.reports.cells import Cell
from winnow.reports.columns import percent
from winnow.reports.cost_axis import scale
from winnow.reports.families import Family, families
from winnow.reports.figures import INK, MUTED, PAPER
from winnow.reports.labels import Label, place_labels
from winnow.reports.pareto import SPARSITY, Cost, front_cells, main_metric, measured
from winnow.reports.series import Look, looks

_STROKES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_LEFT, _RIGHT, _BOTTOM, _ROW = 54, 12, 42, 16  # margins and a line of the legend, in points


def draw(figure: Any, cells: Sequence[Cell], cost: Cost, title: str = "") -> None:
    """Fill a figure, or a part of one, with the picture of a task's cells, its legend above."""
    shown, look = measured(cells, cost), looks(cells)
    width, height = (72 / figure.dpi * side for side in (figure.bbox.width, figure.bbox.height))
    top = 6 + 20 * bool(title)
    top += _ROW * _draw_legend(figure, shown, cost, look, 1 - (top - 4) / height)
    box = (_LEFT / width, _BOTTOM / height, 1 - (_LEFT + _RIGHT) / width, 1 - (_BOTTOM + top) / height)
    ax = figure.add_axes(box)
    if title:
        figure.text(6 / width, 1 - 6 / height, title, va="top", fontweight="bold", fontsize=11)
    metric = main_metric(cells)
    points = {id(cell): (cost.value(cell), cell.metrics[metric].mean) for cell in shown}
    _draw_front(ax, [points[id(cell)] for cell in front_cells(cells, cost)])
    found = families(shown)
    strokes = _strokes(found)
    lines = []
    for family in (family for family in found if family.numbers):
        lines.append(np.array(sorted(points[id(cell)] for cell in family.line)))
        ax.plot(*lines[-1].T, color=look[family.teacher].colour, linestyle=strokes[family.name], zorder=2)
    for cell in shown:
        _draw_point(ax, cell, cost, metric, look[cell.teacher])
        lines += _bars(points[id(cell)], cost.deviation(cell), cell.metrics[metric].deviation or 0)
    _draw_dense(ax, shown, metric)
    scale(ax, cost, metric, [x for x, _ in points.values()])
    place_labels(ax, list(_labels(found, points, look, cost)), lines)


def _strokes(found: Sequence[Family]) -> dict[str, Any]:
    names = dict.fromkeys(family.name for family in found if family.numbers)
    return {name: _STROKES[i % len(_STROKES)] for i, name in enumerate(names)}


def _draw_front(ax: Any, points: Sequence[tuple[float, float]]) -> None:
    if len(points) > 1:
        ax.plot(*zip(*points, strict=True), color=MUTED, alpha=0.3, linewidth=7, solid_capstyle="round", zorder=1)


def _draw_point(ax: Any, cell: Cell, cost: Cost, metric: str, look: Look) -> None:
    statistic = cell.metrics[metric]
    ax.errorbar(
        cost.value(cell),
        statistic.mean,
        yerr=statistic.deviation or None,
        xerr=cost.deviation(cell) or None,
        fmt=look.marker,
        color=look.colour,
        markeredgecolor=PAPER,
        markeredgewidth=0.8,
        markersize=7,
        elinewidth=1,
        capsize=2.5,
        zorder=4,
    )
    for figure in _published(cell, cost, metric):
        ax.plot(cost.value(cell), figure, look.marker, color=PAPER, markeredgecolor=look.colour, markersize=7, zorder=3)


def _bars(point: tuple[float, float], wide: float, high: float) -> list[np.ndarray]:
    """The lines that an error bar is made of."""
    offsets = [np.array(each) for each in ((wide, 0), (0, high)) if any(each)]
    return [np.array([point - offset, point + offset]) for offset in offsets]


def _published(cell: Cell, cost: Cost, metric: str) -> list[float]:
    """Others have the sparsity that a recipe says, but models of another size; kept zeros are those of the start."""
    kept = any(row.get("pruned") and not (row.get("one_shot") or row.get("pruning_epochs")) for row in cell.rows)
    alike = [each for each in cell.published if each.model == cell.model or not kept]
    return [each.metrics[metric] for each in alike if cost is SPARSITY and metric in each.metrics]


def _draw_dense(ax: Any, cells: Sequence[Cell], metric: str) -> None:
    for cell in cells:
        if cell.is_dense:
            ax.axhline(cell.metrics[metric].mean, color=MUTED, linewidth=0.9, zorder=1.5)


def _labels(
    found: Sequence[Family], points: Mapping[int, tuple[float, float]], look: Mapping[str, Look], cost: Cost
) -> list[Label]:
    named, numbered = [], []
    for family in found:
        colour = look[family.teacher].colour
        if not family.numbers:
            named.append(Label(*points[id(family.cells[0])], family.name, colour))
            continue
        for cell, number in zip(family.cells, family.numbers, strict=True):
            if not (cost is SPARSITY and _says_sparsity(number, cell)):
                numbered.append(Label(*points[id(cell)], number, colour))
    return named + numbered


def _says_sparsity(number: str, cell: Cell) -> bool:
    """As the axis does."""
    return cell.sparsity is not None and number == percent(cell.sparsity.mean)


def _draw_legend(figure: Any, cells: Sequence[Cell], cost: Cost, look: Mapping[str, Look], top: float) -> int:
    """Above the axes, from a height on that is a share of the figure's; the number of its rows."""
    handles = _handles(cells, cost, look)
    columns = max(1, int(72 * figure.bbox.width / figure.dpi // 120))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, top),
        ncols=columns,
        fontsize=9,
        handlelength=2,
        columnspacing=1.2,
        borderaxespad=0,
    )
    return -(-len(handles) // columns)


def _handles(cells: Sequence[Cell], cost: Cost, look: Mapping[str, Look]) -> list[Any]:
    """What each mark and line means."""
    from matplotlib.lines import Line2D

    metric = main_metric(cells)
    handles = [
        Line2D([], [], color=each.colour, marker=each.marker, linestyle="", label=each.words) for each in look.values()
    ]
    strokes = _strokes(families(cells))
    handles += [Line2D([], [], color=INK, linestyle=stroke, label=name) for name, stroke in strokes.items()]
    if any(_published(cell, cost, metric) for cell in cells):
        handles.append(Line2D([], [], color=PAPER, markeredgecolor=INK, marker="o", linestyle="", label="published"))
    if len(front_cells(cells, cost)) > 1:
        handles.append(Line2D([], [], color=MUTED, alpha=0.3, linewidth=7, label="Pareto front"))
    if any(cell.is_dense for cell in cells):
        handles.append(Line2D([], [], color=MUTED, linewidth=0.9, label="dense"))
    return handles
