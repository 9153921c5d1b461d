"""Training curves of a recipe: the metric above, the loss below if it was logged, events of the recipe as marks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from winnow.loggers.history import History
from winnow.reports.plot_style import INK, MUTED, Look

_BINS = 40  # points of a loss curve
_ROW = 11  # height of the name of an event, in points


def draw_curves(figure: Figure, curves: Sequence[tuple[Look, list[History]]], metric: str) -> None:
    """Fill a figure with the seeds of at least one group.

    Seeds are thin lines, their mean is thick if they were validated at the same times.
    """
    runs = [run for _, seeds in curves for run in seeds]
    ratios = (3, 1) if any(run.loss for run in runs) else (1,)
    axes = [*figure.subplots(len(ratios), sharex=True, height_ratios=ratios, squeeze=False)[:, 0]]
    score, *losses = axes
    for look, seeds in curves:
        for run in seeds:
            _draw_seed(score, losses, run, look.colour, is_single=len(seeds) == 1)
        times = [[round(epoch, 3) for epoch, _ in run.metric] for run in seeds]
        if len(seeds) > 1 and all(each == times[0] for each in times):
            means = np.mean([[value for _, value in run.metric] for run in seeds], axis=0)
            score.plot(times[0], means, color=look.colour, linewidth=2.2)
    end = max(epoch for run in runs for epoch, _ in (*run.metric, *run.loss))
    _draw_events(axes, runs, end)
    score.set(ylabel=metric)
    axes[-1].set(xlabel="epoch", xlim=(0, end))
    for loss in losses:
        loss.set(ylabel="loss")
        loss.locator_params(axis="y", nbins=3)
    figure.align_ylabels()


def _draw_seed(score: Axes, losses: Sequence[Axes], run: History, colour: str, is_single: bool) -> None:
    style: dict[str, Any] = {"color": colour, "alpha": 1 if is_single else 0.6}
    marker = "o" if len(run.metric) == 1 else None  # a line of one point is invisible
    score.plot(*np.transpose(run.metric), **style, marker=marker, linewidth=1.5 if is_single else 0.9)
    if run.loss:  # means of neighbouring points, because a loss of single steps is mostly noise
        chunks = np.array_split(np.array(run.loss), min(_BINS, len(run.loss)))
        losses[0].plot(*np.transpose([chunk.mean(axis=0) for chunk in chunks]), **style, linewidth=0.9)


def _draw_events(axes: Sequence[Axes], runs: Sequence[History], end: float) -> None:
    """Mark each event of any run once, with its name in a row above the axes."""
    events = {(round(epoch, 2), name): epoch for run in runs for epoch, name in run.events}
    for row, ((_, name), epoch) in enumerate(sorted(events.items(), reverse=True)):
        for ax in axes:
            ax.axvline(epoch, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        is_left = epoch < 0.7 * end  # there is room on the right
        axes[0].annotate(
            name,
            (epoch, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2 if is_left else -2, 2 + _ROW * row),
            textcoords="offset points",
            ha="left" if is_left else "right",
            fontsize=8.5,
            color=INK,
        )
