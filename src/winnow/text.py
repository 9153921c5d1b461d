"""Text for people: durations, aligned columns, short names and paths."""

from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from winnow.errors import visible


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 100:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def four_digits(value: float | None) -> str:
    """A metric with four digits, - for one without a value."""
    return "-" if value is None else f"{value:.4f}"


def aligned(table: Sequence[Sequence[str]], left: Container[int] = (0,), separator: str = "  ") -> list[str]:
    """One line a row; the columns with the indices ``left`` are aligned left, the others right.

    What is not seen in print becomes escapes: a cell may come from the files of anybody.
    """
    table = [[*map(visible, row)] for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = [str.ljust if i in left else str.rjust for i in range(len(widths))]
    return [
        separator.join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in table
    ]


def titled(title: str, lines: Iterable[str]) -> list[str]:
    title = visible(title)
    return [title, "-" * len(title), *map(visible, lines)]


def truncated(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def relative_path(folder: Path) -> Path:
    """Relative to the working directory if it is below that, so that it is short to type."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
