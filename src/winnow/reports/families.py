"""Cells that differ in one number alone: what a picture joins by a line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from winnow.reports.cells import Cell, short_names

_NUMBERED = re.compile(r"(?:(?<=_)|^)([a-z]+)(\d+)(?=_|$)", re.IGNORECASE)  # not the 18of30 of prune80_18of30
_SCHEDULE = re.compile(r"(_\d+of\d+)?")
_NUMBER = re.compile(r"-?\d+(\.\d*)?(e-?\d+)?")


@dataclass(frozen=True)
class Family:
    """Cells of one kind, ordered by their number.

    Args:
        name: what they share, such as ``prune``; of a single cell its recipe.
        cells: at least one, all of one teacher.
        numbers: what tells each from the others, as it is written: ``80``; empty for a single cell.
        start: the cell from which their line begins: dense, or the kept layers before they are pruned.
    """

    name: str
    cells: tuple[Cell, ...]
    numbers: tuple[str, ...] = ()
    start: Cell | None = None

    @property
    def teacher(self) -> str:
        return self.cells[0].teacher

    @property
    def line(self) -> tuple[Cell, ...]:
        return (self.start, *self.cells) if self.start else self.cells


def families(cells: Sequence[Cell]) -> list[Family]:
    """All cells of a task, each in one family; families in the order of their first cells."""
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        name, numbers = _split(cell)
        varied = (name, *(number.split("=")[0] for number in numbers[1:]))
        groups.setdefault((cell.model, cell.teacher, *varied, str(len(numbers))), []).append(cell)
    return [family for group in groups.values() for family in _families_of(group, cells)]


def _families_of(group: Sequence[Cell], cells: Sequence[Cell]) -> list[Family]:
    numbers = {id(cell): _split(cell)[1] for cell in group}
    if len(group) == 1 or any(len(each) != 1 for each in numbers.values()):
        return [Family(shortened(cell.title, 32), (cell,)) for cell in group]
    ordered = sorted(group, key=lambda cell: float(numbers[id(cell)][0].split("=")[-1]))
    texts = tuple(numbers[id(cell)][0] for cell in ordered)
    return [Family(_split(group[0])[0], tuple(ordered), texts, _start(group[0], cells))]


def _split(cell: Cell) -> tuple[str, list[str]]:
    """The name of the family, and the numbers by which its members may differ."""
    name, numbers = cell.recipe, []
    if numbered := list(_NUMBERED.finditer(name)):
        last = numbered[-1]
        name, numbers = name[: last.end(1)] + name[last.end() :], [last[2]]
    words = {f"{setting}={value}": value for setting, value in short_names(cell.settings).items()}
    numbers += [word for word, value in words.items() if _NUMBER.fullmatch(value)]
    return ", ".join([name, *(word for word in words if word not in numbers)]), numbers


def shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _start(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """The cell without what the family varies: before prune80 it is dense, before layers6_prune80 it is layers6."""
    numbered = list(_NUMBERED.finditer(cell.recipe))
    if not numbered or cell.settings or not _SCHEDULE.fullmatch(cell.recipe[numbered[-1].end() :]):
        return None
    recipe = cell.recipe[: numbered[-1].start()].rstrip("_") or "dense"
    same = [c for c in cells if (c.model, c.recipe, c.teacher) == (cell.model, recipe, cell.teacher)]
    return same[0] if len(same) == 1 else None
