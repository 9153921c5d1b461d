"""Training curves: one small picture a recipe, the metric above and the loss below, the recipe's events as marks."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from winnow.loggers.history import History, read_history
from winnow.reports.cells import Cell
from winnow.reports.figures import INK, MUTED
from winnow.reports.pareto import main_metric

T = TypeVar("T")

_BINS = 40  # points of a loss curve
_LETTER = 5.2  # width of one in an event's word, in points
_ROW = 11  # height of a row of such words
_LEFT, _RIGHT, _BOTTOM, _LOSS, _BETWEEN = 46, 8, 34, 46, 10


def histories(cell: Cell) -> list[History]:
    """Of those seeds that have one."""
    found = (read_history(row, main_metric([cell])) for row in cell.rows)
    return [history for history in found if history]


def spread(entries: Sequence[T], most: int) -> list[T]:
    """At most so many, evenly from the first to the last."""
    if len(entries) <= most:
        return list(entries)
    return [entries[round(i * (len(entries) - 1) / (most - 1))] for i in range(most)]


def draw(figure: Any, runs: Sequence[tuple[str, list[History]]], metric: str) -> None:
    """Fill a figure; each seed is thin, their mean thick where they were validated at the same times.

    Args:
        runs: colour and seeds of each cell, at least one.
        metric: its name.
    """
    width, height = (72 * inches for inches in figure.get_size_inches())
    every = [run for _, seeds in runs for run in seeds]
    end = max(epoch for run in every for epoch, _ in (*run.metric, *run.loss))
    inner = width - _LEFT - _RIGHT
    marks = list(_placed(_events(every), inner / end, end))
    top = 6 + _ROW * (1 + max((row for _, _, row, _ in marks), default=-1))
    above = _BOTTOM + _LOSS + _BETWEEN
    score = figure.add_axes((_LEFT / width, above / height, inner / width, (height - above - top) / height))
    loss = figure.add_axes((_LEFT / width, _BOTTOM / height, inner / width, _LOSS / height), sharex=score)
    for colour, seeds in runs:
        for run in seeds:
            _draw_seed(score, loss, run, {"color": colour, "alpha": 0.6 if len(seeds) > 1 else 1})
        _draw_mean(score, seeds, colour)
    _name_axes(score, loss, metric)
    for mark in marks:
        _draw_event(score, loss, *mark)
    loss.set_xlim(0, end)
    figure.align_ylabels()


def _name_axes(score: Any, loss: Any, metric: str) -> None:
    score.set_ylabel(metric, fontsize=9)
    loss.set_ylabel("loss", fontsize=9)
    loss.set_xlabel("epoch", fontsize=9)
    score.tick_params(labelbottom=False, labelsize=9)
    loss.tick_params(labelsize=9)
    loss.locator_params(axis="y", nbins=3)
    if not loss.has_data():  # the runs were too short to log one
        loss.set_yticks([])


def _draw_seed(score: Any, loss: Any, run: History, look: dict[str, Any]) -> None:
    single = {"marker": "o", "markersize": 4} if len(run.metric) == 1 else {}  # a line of one point is not seen
    score.plot(*zip(*run.metric, strict=True), **look, **single, linewidth=1.5 if look["alpha"] == 1 else 0.9)
    if run.loss:
        loss.plot(*_binned(run.loss), **look, linewidth=0.9)


def _draw_event(score: Any, loss: Any, epoch: float, word: str, row: int, side: str) -> None:
    for ax in (score, loss):
        ax.axvline(epoch, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    offset = (2 if side == "left" else -2, 2 + _ROW * row)
    at = {"xycoords": ("data", "axes fraction"), "xytext": offset, "textcoords": "offset points"}
    score.annotate(word, (epoch, 1), **at, fontsize=8.5, ha=side, color=INK)


def _draw_mean(ax: Any, seeds: Sequence[History], colour: str) -> None:
    times = [[round(epoch, 3) for epoch, _ in run.metric] for run in seeds]
    if len(seeds) > 1 and all(each == times[0] for each in times):
        ax.plot(times[0], np.mean([[value for _, value in run.metric] for run in seeds], axis=0), color=colour, lw=2.2)


def _events(runs: Sequence[History]) -> list[tuple[float, str]]:
    """Those of all runs, each once: of recipes that differ in their teacher they are the same."""
    found = {(round(epoch, 2), word): (epoch, word) for run in runs for epoch, word in run.events}
    return sorted(found.values())


def _binned(points: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Means of neighbours: a curve of steps is mostly noise."""
    chunks = np.array_split(np.array(points), min(_BINS, len(points)))
    x, y = np.array([chunk.mean(axis=0) for chunk in chunks]).T
    return x, y


def _placed(events: Sequence[tuple[float, str]], scale: float, end: float) -> Iterator[tuple[float, str, int, str]]:
    """Each event with the lowest row above the picture in which its word has room, and the side of its mark.

    Args:
        events: epoch and word.
        scale: points an epoch.
        end: of the last epoch.
    """
    rows: list[float] = []  # where the last word of each ends
    for epoch, word in events:
        start, length = epoch * scale, _LETTER * len(word) + 6
        side = "left" if start + length <= end * scale + _RIGHT else "right"
        start -= length if side == "right" else 0
        row = next((i for i, taken in enumerate(rows) if taken <= start), len(rows))
        rows[row : row + 1] = [start + length]
        yield epoch, word, row, side
