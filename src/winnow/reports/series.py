"""How the cells of a teacher look in every picture of a task: a colour and a marker, so that either is enough."""

from collections.abc import Sequence
from typing import NamedTuple

from winnow.reports.cells import Cell
from winnow.reports.families import shortened
from winnow.reports.figures import MARKERS, SERIES


class Look(NamedTuple):
    colour: str
    marker: str
    words: str


def looks(cells: Sequence[Cell]) -> dict[str, Look]:
    """Of each teacher, the cells without one first.

    Args:
        cells: all of a task, so that its pictures agree.
    """
    known = dict.fromkeys(["none", *(cell.teacher for cell in cells)])
    present = {cell.teacher for cell in cells}
    return {
        teacher: Look(SERIES[i % len(SERIES)], MARKERS[(i + i // len(SERIES)) % len(MARKERS)], _words(teacher))
        for i, teacher in enumerate(known)
        if teacher in present
    }


def _words(teacher: str) -> str:
    return "no teacher" if teacher == "none" else shortened(f"teacher: {teacher}", 24)
