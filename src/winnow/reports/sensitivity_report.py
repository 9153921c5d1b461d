"""Which matrices bear pruning: as text, as a picture, and as files."""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from winnow.files.atomic import write_atomically
from winnow.files.json_text import json_text
from winnow.machine import three_digits
from winnow.reports.heat_map import layer_and_kind, percent_of_zeros
from winnow.reports.plot_style import INK, PAPER, save_picture
from winnow.text import aligned, titled
from winnow.training.sensitivity import Sensitivity

_DARK = 0.55  # of the colours from 0 to 1; on darker ones numbers are white
_LEAST = 1e-6  # divergence, on the logarithmic scale of the colours


def save_report(result: Sensitivity, title: str, folder: Path) -> tuple[Path, Path]:
    """Write sensitivity.json; and, whose paths are returned, the picture and the mapping for recipe.pruning."""
    write_atomically(folder / "sensitivity.json", json_text(vars(result), indent=1) + "\n")
    picture, mapping = folder / "sensitivity.png", folder / "final_sparsity.yaml"
    write_atomically(mapping, yaml.safe_dump(result.chosen, sort_keys=False))
    kinds, layers = _axes(result.chosen)
    if layers:
        size = (3.0 + 1.1 * len(layers), 1.5 + 0.4 * len(kinds))
        save_picture(lambda figure: _draw(figure, result, title), size, picture)
    return picture, mapping


def sensitivity_text(result: Sensitivity, title: str) -> str:
    """The chosen sparsities by layer, and what all of them change together, beside those of the recipe."""
    kinds, layers = _axes(result.chosen)
    values = _grid(result.chosen)
    rows = [["% zeros in layer", *map(str, layers)]]
    rows += [
        [kind, *(percent_of_zeros(value) if value == value else "" for value in line)]
        for kind, line in zip(kinds, values, strict=True)
    ]
    planned, chosen = (three_digits(result.together[name]) for name in ("planned", "chosen"))
    note = (
        f"Divergence with all matrices pruned at once, without training, on {result.examples:,} training examples: "
        f"{planned} with the sparsities of the recipe, {chosen} with these."
    )
    return "\n".join([*titled(title, aligned(rows)), "", note])


def _axes(values: Mapping[str, float]) -> tuple[list[str], list[int]]:
    """The kinds of matrices in their order, and the layers."""
    places = [place for name in values if (place := layer_and_kind(name))]
    return list(dict.fromkeys(kind for _, kind in places)), sorted({layer for layer, _ in places})


def _grid(values: Mapping[str, float]) -> np.ndarray:
    """A row for each kind, a column for each layer; NaN where there is no such matrix."""
    kinds, layers = _axes(values)
    grid = np.full((len(kinds), len(layers)), np.nan)
    for name, value in values.items():
        if place := layer_and_kind(name):
            grid[kinds.index(place[1]), layers.index(place[0])] = value
    return grid


def _draw(figure: Figure, result: Sensitivity, title: str) -> None:
    """Beside each other: the divergence of each matrix pruned alone to about the recipe's sparsity; the chosen one."""
    mean = statistics.fmean(result.planned.values())
    level = min(range(len(result.sparsities)), key=lambda i: abs(result.sparsities[i] - mean))
    alone = {name: max(values[level], _LEAST) for name, values in result.alone.items()}
    kinds, layers = _axes(alone)
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_map(left, _grid(alone), LogNorm(), lambda value: f"{value:.1g}" if value > _LEAST else "0")
    left.set(title=f"divergence, pruned alone to {100 * result.sparsities[level]:g} %", yticks=range(len(kinds)))
    left.set_yticklabels(kinds)
    _draw_map(right, _grid(result.chosen), Normalize(), percent_of_zeros)
    right.set_title("chosen sparsity, %")
    for ax in (left, right):
        ax.set(xlabel="layer", xticks=range(len(layers)), xticklabels=layers)
        ax.title.set_fontsize(10)
    figure.suptitle(title, fontsize=11)


def _draw_map(ax: Axes, grid: np.ndarray, norm: Normalize, text: Callable[[float], str]) -> None:
    ax.imshow(grid, norm=norm, cmap="Blues", aspect="auto")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(grid):
        if value == value:
            colour = PAPER if float(norm(value)) > _DARK else INK
            ax.text(column, row, text(float(value)), ha="center", va="center", fontsize=8, color=colour)
