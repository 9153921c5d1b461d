"""Sparsity by layer: the content of a table whose fields the page colours by their numbers."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from winnow.reports.groups import Group, mean
from winnow.reports.result_rows import Row

_LAYER = re.compile(r"(?:^|[._])layers?\.(\d+)\.(.+)$")
_WEIGHTS = Path("model") / "model.safetensors"
_MAX_HEADER = 1 << 24  # bytes; a longer header is damaged

HeatLine = tuple[str, dict[int, float]]  # name, sparsity of each layer that exists


def heat_map(groups: Sequence[Group]) -> list[HeatLine]:
    """A line for each group with zeros, a mean over its seeds; a single group has a line for each kind of matrix."""
    sparse = [group for group in groups if any(value > 0 for value in group.values("sparsity"))]
    lines = [(group.label, [_by_layer(run) for run in group.runs]) for group in sparse]
    if len(sparse) == 1:
        kinds: dict[str, list[dict[int, float]]] = {}
        for name, sparsity in (pair for run in sparse[0].runs for pair in run.sparsity_by_layer.items()):
            if place := layer_and_kind(name):
                kinds.setdefault(place[1], []).append({place[0]: sparsity})
        lines = list(kinds.items())
    means = [(name, _mean_by_layer(runs)) for name, runs in lines]
    return [(name, values) for name, values in means if values]


def layer_and_kind(name: str) -> tuple[int, str] | None:
    """Of the full name of a matrix, e.g. (0, 'attention.self.query'); None outside the layers."""
    found = _LAYER.search(name)
    return (int(found[1]), found[2].removesuffix(".weight")) if found else None


def percent_of_zeros(value: float) -> str:
    """With a tenth above 90 %, where it matters; only a layer without any weight left is 100."""
    return f"{min(100 * value, 99.9) if value < 1 else 100:.1f}" if value > 0.9 else f"{100 * value:.0f}"


def _by_layer(run: Row) -> dict[int, float]:
    """Means over the matrices of each layer, weighted by their sizes if the run's folder has its model."""
    sizes = _matrix_sizes(run.folder / _WEIGHTS)
    weighted = sizes.keys() >= run.sparsity_by_layer.keys()
    zeros: dict[int, float] = {}
    totals: dict[int, int] = {}
    for name, sparsity in run.sparsity_by_layer.items():
        if place := layer_and_kind(name):
            layer, size = place[0], sizes[name] if weighted else 1
            zeros[layer] = zeros.get(layer, 0.0) + size * sparsity
            totals[layer] = totals.get(layer, 0) + size
    return {layer: zeros[layer] / total for layer, total in totals.items()}


def _matrix_sizes(path: Path) -> dict[str, int]:
    """Numbers of weights from the header of a safetensors file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), _MAX_HEADER)))
        return {name: math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _mean_by_layer(runs: Sequence[Mapping[int, float]]) -> dict[int, float]:
    layers = dict.fromkeys(layer for run in runs for layer in run)
    return {layer: mean([run[layer] for run in runs if layer in run]) for layer in layers}
