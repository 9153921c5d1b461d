"""Heads and neurons that are left in each layer of a model from which a recipe has removed some, as a picture."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from winnow.files.json_text import read_json
from winnow.reports.groups import Group
from winnow.reports.plot_style import MUTED, save_picture, teacher_looks
from winnow.reports.results import Results

_STRUCTURE = Path("model") / "structure.json"
_PANEL = (4.2, 3.3)  # inches
_MAX_PANELS = 20


class Left(NamedTuple):
    """Means over the seeds of a group, by layer, and the numbers of a dense model."""

    heads: list[float]
    neurons: list[float]
    all_heads: int
    all_neurons: int


def structures_left(group: Group) -> Left | None:
    """What the runs of a group have left, or None if no model with removed structures can be read."""
    found = []
    for run in group.runs:
        try:
            content = read_json(run.folder / _STRUCTURE)
            pairs = zip(content["heads"], content["neurons"], strict=True)
            counts = [(len(heads), len(neurons)) for heads, neurons in pairs]
            found.append((counts, int(content["all_heads"]), int(content["all_neurons"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # an older run, one whose folder has moved, or a whole model
    alike = [counts for counts, *_ in found if len(counts) == len(found[0][0])]
    if not alike or not alike[0]:
        return None
    heads, neurons = np.mean(alike, axis=0).T.tolist()
    return Left(heads, neurons, *found[0][1:])


def draw_structure(figure: Figure | SubFigure, left: Left, title: str = "") -> None:
    """Fill a figure, or a part of one: bars for what is left, above a line for the dense model."""
    colour = teacher_looks([])["none"].colour
    heads, neurons = figure.subplots(2, sharex=True)
    for ax, name, values, total in (
        (heads, "heads", left.heads, left.all_heads),
        (neurons, "neurons", left.neurons, left.all_neurons),
    ):
        _draw_bars(ax, values, total, colour)
        ax.set_ylabel(f"{name} of {total:,}")
    neurons.set(xlabel="layer", xticks=range(len(left.heads)))
    heads.set_title(title, fontsize=10)
    figure.align_ylabels()


def _draw_bars(ax: Axes, values: Iterable[float], total: int, colour: str) -> None:
    heights = list(values)
    bars = ax.bar(range(len(heights)), heights, color=colour, width=0.7)
    ax.bar_label(bars, [f"{height:.3g}" if height < 1000 else f"{height:.0f}" for height in heights], fontsize=7.5)
    ax.axhline(total, color=MUTED, linewidth=0.9)
    ax.set_ylim(0, 1.18 * total)  # room for the number of a whole layer
    ax.grid(visible=False, axis="x")


def save_structures(results: Results, out: Path) -> list[Path]:
    """Save structure.png and structure.svg, a panel for each configuration with removed structures; nothing if none."""
    panels = [(left, group) for group in results.groups if (left := structures_left(group))][:_MAX_PANELS]
    if not panels:
        return []
    rows, columns = -(-len(panels) // 2), min(2, len(panels))

    def draw(figure: Figure) -> None:
        for part, (left, group) in zip(figure.subfigures(rows, columns, squeeze=False).flat, panels, strict=False):
            draw_structure(part, left, group.label)

    paths = [out / "structure.png", out / "structure.svg"]
    save_picture(draw, (columns * _PANEL[0], rows * _PANEL[1]), *paths)
    return paths
