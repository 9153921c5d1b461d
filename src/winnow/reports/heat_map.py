"""Sparsity by layer as a table whose fields are coloured by their numbers."""

import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from winnow.reports.cells import Cell

_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.(.+)$")
_WEIGHTS = Path("model") / "model.safetensors"
_HEAD = 1 << 24  # bytes; a longer one is damaged
_HIGH = 0.66  # from this sparsity on the page's other ink has more contrast on the field

Line = tuple[str, dict[int, float]]


def heat_map(cells: Sequence[Cell]) -> list[Line]:
    """The name of each line and the sparsity of each layer that is there.

    Args:
        cells: of one task; each with zeros is a line, a mean over its seeds. Of a single one each kind of matrix is.
    """
    sparse = [cell for cell in cells if cell.sparsity and cell.sparsity.mean > 0]
    lines = [(cell.label, _of_cell(cell)) for cell in sparse]
    if len(sparse) == 1:
        lines = _kinds(sparse[0])
    return [(name, values) for name, values in lines if values]


def heat_html(lines: Sequence[Line], caption: str) -> str:
    """A table in HTML; sparsity in percent."""
    layers = sorted({layer for _, values in lines for layer in values})
    head = "".join(f'<th scope="col">{layer + 1}</th>' for layer in layers)
    fields = [(escape(name), "".join(_field(values.get(layer)) for layer in layers)) for name, values in lines]
    body = "".join(f'<tr><th scope="row" class="key">{name}</th>{values}</tr>\n' for name, values in fields)
    return (
        f'<p class="quiet">{escape(caption)}</p>\n'
        f'<div class="wide" tabindex="0" role="region" aria-label="Sparsity by layer"><table class="heat">'
        f'<thead><tr><th class="key">layer</th>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def _field(value: float | None) -> str:
    if value is None:
        return '<td class="none" aria-label="no such layer">·</td>'
    return f'<td class="{"high" if value >= _HIGH else "low"}" style="--s:{100 * value:.0f}%">{_percent(value)}</td>'


def _percent(value: float) -> str:
    """A tenth where it matters: 97.5 is not 98, and what is not pruned whole is never 100."""
    return f"{min(100 * value, 99.9) if value < 1 else 100:.1f}" if value > 0.9 else f"{100 * value:.0f}"


def _of_cell(cell: Cell) -> dict[int, float]:
    return _mean_by_layer([_by_layer(row) for row in cell.rows])


def _by_layer(row: Mapping[str, Any]) -> dict[int, float]:
    """The mean over the matrices of each layer, weighted by their sizes where the model lies in the run's folder."""
    sizes = _sizes(row["folder"] / _WEIGHTS)
    sums: dict[int, tuple[float, float]] = {}
    for name, sparsity in row["sparsity_by_layer"].items():
        if found := _LAYER.search(name):
            size = sizes.get(name, 1) if sizes.keys() >= row["sparsity_by_layer"].keys() else 1
            zeros, total = sums.get(int(found[1]), (0.0, 0.0))
            sums[int(found[1])] = zeros + size * sparsity, total + size
    return {layer: zeros / total for layer, (zeros, total) in sums.items()}


def _sizes(path: Path) -> dict[str, int]:
    """Numbers of weights, from the head of a safetensors file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), _HEAD)))
        return {name: math.prod(entry["shape"]) for name, entry in head.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _mean_by_layer(runs: Sequence[Mapping[int, float]]) -> dict[int, float]:
    layers = {layer for run in runs for layer in run}
    return {layer: statistics.fmean(run[layer] for run in runs if layer in run) for layer in layers}


def _kinds(cell: Cell) -> list[Line]:
    kinds: dict[str, list[dict[int, float]]] = {}
    for row in cell.rows:
        for name, sparsity in row["sparsity_by_layer"].items():
            if found := _LAYER.search(name):
                kinds.setdefault(found[2].removesuffix(".weight"), []).append({int(found[1]): sparsity})
    return [(kind, _mean_by_layer(runs)) for kind, runs in kinds.items()]
