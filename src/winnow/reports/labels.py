"""Words beside the points of a picture, so that none lies on another, on a point or, where there is room, on a line."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from winnow.reports.figures import PAPER

_POINTS = 9.0  # the size of a word
_GAP = 5.0  # points between a mark and its word
# Right or left and up or down, the best first.
_PLACES = ((0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0))
_ON_A_LINE = 2.0  # how bad it is for a sample of a line to be covered; a point or a word counts as 100
_WORST = 90.0


class Label(NamedTuple):
    """``x`` and ``y`` in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


def place_labels(ax: Any, labels: Sequence[Label], lines: Sequence[np.ndarray] = ()) -> None:
    """Write what there is room for.

    Args:
        ax: its limits are set already.
        labels: in the order of their importance.
        lines: ``(points, 2)`` each, in data coordinates; words keep off them where they can.
    """
    unit = ax.figure.dpi / 72
    marks = ax.transData.transform([(label.x, label.y) for label in labels]) if labels else np.empty((0, 2))
    sampled = np.concatenate([_samples(ax.transData.transform(line), 4 * unit) for line in lines] or [np.empty((0, 2))])
    frame = ax.get_window_extent()
    taken: list[np.ndarray] = [_box(mark, (7 * unit, 7 * unit), (0, 0), 0) for mark in marks]
    for label, mark in zip(labels, marks, strict=True):
        extent = _size(ax, label.text)
        boxes = [_box(mark, extent, place, _GAP * unit) for place in _PLACES]
        costs = [_cost(box, taken, sampled, frame) + 0.1 * rank for rank, box in enumerate(boxes)]
        if min(costs) > _WORST:
            continue
        chosen = boxes[int(np.argmin(costs))]
        taken.append(chosen)
        centre = ax.transData.inverted().transform(chosen.mean(axis=0))
        ground = {"facecolor": PAPER, "alpha": 0.7, "edgecolor": "none", "pad": 0.5}
        ax.text(*centre, label.text, color=label.colour, fontsize=_POINTS, ha="center", va="center", bbox=ground)


def _size(ax: Any, word: str) -> tuple[float, float]:
    text = ax.text(0, 0, word, fontsize=_POINTS)
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def _box(mark: np.ndarray, size: tuple[float, float], place: tuple[int, int], gap: float) -> np.ndarray:
    """Lower left and upper right corner, ``(2, 2)``, of a word at one side of a mark."""
    half = np.array(size) / 2
    off = gap if not all(place) else gap * 0.8  # a corner is further away as it is
    centre = mark + np.array(place) * (half + off)
    return np.stack([centre - half, centre + half])


def _cost(box: np.ndarray, taken: list[np.ndarray], sampled: np.ndarray, frame: Any) -> float:
    if box[0, 0] < frame.x0 or box[1, 0] > frame.x1 or box[0, 1] < frame.y0 or box[1, 1] > frame.y1 + 4:
        return 100.0
    others = np.stack(taken)
    hits = (others[:, 0] < box[1]).all(axis=1) & (others[:, 1] > box[0]).all(axis=1)
    covered = ((sampled > box[0]) & (sampled < box[1])).all(axis=1)
    return 100.0 * int(hits.sum()) + _ON_A_LINE * int(covered.sum())


def _samples(points: np.ndarray, every: float) -> np.ndarray:
    """Points along a line, about so many pixels apart."""
    pieces = [points[:1]]
    for start, end in itertools.pairwise(points):
        count = max(1, int(np.hypot(*(end - start)) / every))
        pieces.append(start + (end - start) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(pieces)
