"""Labels beside the points of a plot that overlap no other label and no point, and lines only where they must."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from winnow.reports.plot_style import PAPER

_GAP = 5.0  # points between the centre of a mark and its label
_MARK = 3.5  # points from the centre of a mark to its edge
# Directions from a point to its label (right or left, up or down), the best first.
_DIRECTIONS = ((0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0))
_LINE_COST = 0.02  # of a sample of a line that would be covered, relative to a label or a point


class PointLabel(NamedTuple):
    """``x`` and ``y`` are data coordinates of the point."""

    x: float
    y: float
    text: str
    colour: str


def place_labels(ax: Axes, labels: Sequence[PointLabel], lines: Sequence[np.ndarray] = ()) -> None:
    """Draw the labels for which there is room.

    Args:
        ax: its limits and its position are fixed.
        labels: the most important first.
        lines: ``(points, 2)`` each, in data coordinates.
    """
    frame = ax.get_window_extent().padded(4)
    samples = [Path(ax.transData.transform(line)).interpolated(20).vertices for line in lines]
    sampled = np.concatenate([np.empty((0, 2)), *samples])
    marks = [Bbox([point, point]) for point in (ax.transData.transform((label.x, label.y)) for label in labels)]
    taken = [mark.padded(_MARK * ax.figure.dpi / 72) for mark in marks]
    for label in labels:
        candidates = [_annotation(ax, label, direction) for direction in _DIRECTIONS]
        boxes = [candidate.get_window_extent() for candidate in candidates]
        inside = [frame.count_contains(box.corners()) == 4 for box in boxes]
        overlaps = [box.count_overlaps(taken) + _LINE_COST * box.count_contains(sampled) for box in boxes]
        best = min(range(len(boxes)), key=lambda i: (not inside[i], overlaps[i]))
        if inside[best] and not boxes[best].count_overlaps(taken):
            taken.append(boxes[best])
            del candidates[best]
        for candidate in candidates:
            candidate.remove()


def _annotation(ax: Axes, label: PointLabel, direction: tuple[int, int]) -> Annotation:
    right, up = direction
    gap = _GAP * (0.8 if right and up else 1.0)  # a corner is further away anyway
    return ax.annotate(
        label.text,
        (label.x, label.y),
        xytext=(gap * right, gap * up),
        textcoords="offset points",
        ha=("center", "left", "right")[right],
        va=("center", "bottom", "top")[up],
        color=label.colour,
        fontsize=9,
        bbox={"facecolor": PAPER, "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
    )
