"""Text for the terminal: durations, aligned columns, short paths."""

from pathlib import Path


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 100:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def aligned(table: list[list[str]]) -> list[str]:
    widths = [max(len(cells[i]) for cells in table) for i in range(len(table[0]))]
    lines = []
    for label, *values in table:
        cells = [label.ljust(widths[0]), *(value.rjust(w) for value, w in zip(values, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def relative_path(folder: Path) -> Path:
    """Relative to the working directory where it lies below it, so that it can be typed."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
