"""The Pareto picture for READMEs and papers: pareto.png and pareto.pdf, light, a panel a task."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from winnow.reports import pareto_picture
from winnow.reports.cells import Cell, Results
from winnow.reports.figures import save_picture
from winnow.reports.pareto import Cost, pictures
from winnow.reports.tables import tables

_ONE = (7.0, 4.6)  # inches
_PANEL = (5.25, 4.4)
_MOST = 20  # panels


def save_pareto(results: Results, out: Path) -> list[Path]:
    """The main picture of each task; no file where none has two points to compare."""
    tasks = [list(cells) for _, cells in itertools.groupby(results.cells, lambda cell: cell.task)]
    titles = [table.title for table in tables(results)]
    drawn = zip(tasks, titles, (pictures(cells)[0] for cells in tasks), strict=True)
    panels = [(cells, costs[0], title) for cells, title, costs in drawn if costs][:_MOST]
    if not panels:
        return []
    paths = [out / "pareto.png", out / "pareto.pdf"]
    rows, columns = -(-len(panels) // 2), min(2, len(panels))
    size = _ONE if len(panels) == 1 else (columns * _PANEL[0], rows * _PANEL[1])
    save_picture(lambda figure: _fill(figure, panels, rows, columns), size, *paths)
    return paths


def _fill(figure: Any, panels: Sequence[tuple[Sequence[Cell], Cost, str]], rows: int, columns: int) -> None:
    parts = figure.subfigures(rows, columns, squeeze=False).flat
    for part, (cells, cost, title) in zip(parts, panels, strict=False):
        part.set_facecolor("none")
        pareto_picture.draw(part, cells, cost, title)
