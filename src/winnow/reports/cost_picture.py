"""The picture of a cost plot: points with error bars, families as lines, the Pareto front as a band behind them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from winnow.reports.columns import percent
from winnow.reports.cost_plots import PARAMETERS, SPARSITY, CostPlot, cost_plots
from winnow.reports.families import Family, families
from winnow.reports.groups import Group, mean
from winnow.reports.plot_style import INK, MUTED, PAPER, Look, save_picture, teacher_looks
from winnow.reports.point_labels import PointLabel, place_labels
from winnow.reports.results import Results
from winnow.reports.tables import tables
from winnow.text import truncated

_STROKES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (10, 3)),
    (0, (4, 1.5, 1, 1, 1, 1.5)),
)
_FRONT: dict[str, Any] = {"color": MUTED, "alpha": 0.3, "linewidth": 7, "solid_capstyle": "round"}
_DENSE: dict[str, Any] = {"color": MUTED, "linewidth": 0.9}
_LEGEND_COLUMN, _TICK_WIDTH = 120, 24  # points
_TICKS = (0, 20, 40, 50, 60, 70, 80, 90, 95, 97, 98, 99, 99.5, 99.9)  # of sparsity, in percent
_SINGLE, _PANEL = (7.0, 4.6), (5.25, 4.4)  # inches
_MAX_PANELS = 20


def save_pareto(results: Results, out: Path) -> list[Path]:
    """Save the main plot of each task as pareto.png and pareto.pdf; nothing if no task has two points to compare."""
    plots = zip((cost_plots(groups)[0] for groups in results.tasks), tables(results), strict=True)
    panels = [(task[0], table.title) for task, table in plots if task][:_MAX_PANELS]
    if not panels:
        return []
    rows, columns = -(-len(panels) // 2), min(2, len(panels))

    def draw(figure: Figure) -> None:
        for part, panel in zip(figure.subfigures(rows, columns, squeeze=False).flat, panels, strict=False):
            draw_costs(part, *panel)

    paths = [out / "pareto.png", out / "pareto.pdf"]
    save_picture(draw, _SINGLE if len(panels) == 1 else (columns * _PANEL[0], rows * _PANEL[1]), *paths)
    return paths


def draw_costs(figure: Figure | SubFigure, plot: CostPlot, title: str = "") -> None:
    """Fill a figure, or a part of one, whose layout is constrained; the legend is above the axes."""
    looks = teacher_looks(plot.teachers)
    found = families(plot.groups)
    names = dict.fromkeys(family.name for family in found if family.numbers)
    strokes = {name: _STROKES[i % len(_STROKES)] for i, name in enumerate(names)}
    ax = figure.subplots()
    if len(plot.front) > 1:
        ax.plot(*zip(*map(plot.point, plot.front), strict=True), **_FRONT, zorder=1)
    lines = []
    for family in (family for family in found if family.numbers):
        lines.append(np.array(sorted(map(plot.point, filter(None, [family.start, *family.groups])))))
        ax.plot(*lines[-1].T, color=looks[family.teacher].colour, linestyle=strokes[family.name], zorder=2)
    for group in plot.groups:
        lines += _draw_point(ax, plot, group, looks[group.teacher])
    _scale_axes(ax, plot)
    handles = list(_legend(plot, looks, strokes))
    columns = max(1, int(72 * figure.bbox.width / figure.dpi // _LEGEND_COLUMN))
    legend = figure.legend(handles=handles, loc="outside upper left", ncols=columns, fontsize=9, alignment="left")
    legend.set_title(title, FontProperties(weight="bold", size=11))
    figure.figure.draw_without_rendering()  # fixes the layout
    place_labels(ax, _labels(found, plot, looks), lines)


def _legend(plot: CostPlot, looks: dict[str, Look], strokes: dict[str, Any]) -> Iterator[Line2D]:
    """What each mark and line means."""
    for look in (looks[teacher] for teacher in looks if teacher in plot.teachers):
        yield Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=look.text)
    for name, stroke in strokes.items():
        yield Line2D([], [], color=INK, linestyle=stroke, label=truncated(name, 24))
    if any(_published_scores(plot, group) for group in plot.groups):
        yield Line2D([], [], color=PAPER, markeredgecolor=INK, marker="o", linestyle="", label="published")
    if len(plot.front) > 1:
        yield Line2D([], [], **_FRONT, label="Pareto front")
    if any(group.is_dense for group in plot.groups):
        yield Line2D([], [], **_DENSE, label="dense")


def _draw_point(ax: Axes, plot: CostPlot, group: Group, look: Look) -> list[np.ndarray]:
    """Draw a group and its published figures; returns the lines of its error bars."""
    point, deviation = np.array(plot.point(group)), np.array(plot.deviation(group))
    marker: dict[str, Any] = {"marker": look.marker, "markersize": 7, "linestyle": ""}
    ax.plot(*point, **marker, color=look.colour, markeredgecolor=PAPER, markeredgewidth=0.8, zorder=4)
    bars = [np.array([point - bar, point + bar]) for bar in np.diag(deviation) if bar.any()]
    for bar in bars:
        ax.plot(*bar.T, color=look.colour, linewidth=1, zorder=4)
    for score in _published_scores(plot, group):
        ax.plot(point[0], score, **marker, color=PAPER, markeredgecolor=look.colour, zorder=3)
    if group.is_dense:
        ax.axhline(point[1], **_DENSE, zorder=1.5)
    return bars


def _published_scores(plot: CostPlot, group: Group) -> list[float]:
    """Published models have the sparsity of the recipe, but other sizes. Kept zeros are those of their own model."""
    kept = any(run.kept_zeros for run in group.runs)
    rows = [row for row in group.published if row.model == group.model or not kept]
    return [score for row in rows if plot.cost is SPARSITY and (score := row.metrics.get(plot.metric)) is not None]


def _labels(found: Sequence[Family], plot: CostPlot, looks: dict[str, Look]) -> list[PointLabel]:
    """Names of single groups, then numbers of families, without those that the axis gives."""
    texts = [(family, family.groups[0], family.name) for family in found if not family.numbers]
    for family in found:
        for group, number in zip(family.groups, family.numbers, strict=False):
            if not (plot.cost is SPARSITY and number == percent(mean(group.values("sparsity")))):
                texts.append((family, group, number))
    return [PointLabel(*plot.point(group), text, looks[family.teacher].colour) for family, group, text in texts]


def _scale_axes(ax: Axes, plot: CostPlot) -> None:
    """Name both axes and fix their limits, after everything but the labels is drawn."""
    ax.margins(x=0.07, y=0.12)
    if plot.cost is SPARSITY:  # logarithmic in the remaining weights, so that 80, 90 and 95 % have similar distances
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.xaxis.set_major_locator(FixedLocator(_sparsity_ticks(ax, plot)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda remaining, _: percent(1 - remaining)))
    elif plot.cost is not PARAMETERS:
        ax.set_xlim(left=0)
    ax.set(xlabel=plot.cost.axis, ylabel=plot.metric, xlim=ax.get_xlim(), ylim=ax.get_ylim())


def _sparsity_ticks(ax: Axes, plot: CostPlot) -> list[float]:
    """Remaining weights at the points, then at round sparsities, as far as their labels do not overlap."""
    most, least = ax.get_xlim()
    width = _TICK_WIDTH * ax.figure.dpi / 72
    ticks: dict[float, float] = {}
    points = sorted(plot.point(group)[0] for group in plot.groups)
    for remaining in (*points, *(1 - sparsity / 100 for sparsity in _TICKS)):
        place = float(ax.transData.transform((remaining, 0))[0])
        if least <= remaining <= most and all(abs(place - other) > width for other in ticks.values()):
            ticks[remaining] = place
    return list(ticks)
