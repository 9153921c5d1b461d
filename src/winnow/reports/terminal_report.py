"""A report in the terminal: tables without the columns that do not fit, and its sentences."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from winnow.reports.markdown import failures
from winnow.reports.results import Results
from winnow.reports.tables import Table, tables
from winnow.text import relative_path

MAX_SENTENCES = 20  # about what was left out; the files have all
_UNLIMITED = 10_000  # characters
_NAME_SHARE, _MIN_NAME = 10, 6  # names may be folded to a tenth of the width, but not below 6 characters,
_WORD_SHARE = 4  # nor within a quarter of it in the middle of words
_STYLES = {"": "", "best": "bold", "gap": "dim", "bad": "red"}


def on_screen(results: Results, files: Sequence[Path]) -> str:
    """The tables, the sentences and the files of the report.

    Colours are for terminals only. The width is that of the terminal or COLUMNS; a file or a pipe gets full width.
    """
    is_terminal = sys.stdout.isatty()
    width = None if is_terminal or os.environ.get("COLUMNS") else _UNLIMITED
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=is_terminal, markup=False, highlight=False)
    for table in tables(results):
        console.print(f"## {table.title}", style="bold", soft_wrap=True)
        _print_table(console, table, files[0])
    left_out = results.left_out[:MAX_SENTENCES]
    if len(results.left_out) > MAX_SENTENCES:
        left_out.append(f"{len(results.left_out) - MAX_SENTENCES} more: {relative_path(files[0])}")
    failed = [": ".join(each) for each in failures(results.groups)]
    for title, sentences in {"Failed": failed, "Notes": results.notes, "Left out": left_out}.items():
        if sentences:
            console.print(f"## {title}\n", style="bold")
            console.print("\n".join(f"- {sentence}" for sentence in sentences) + "\n", soft_wrap=True)
    console.print("\n".join(str(relative_path(path)) for path in files), soft_wrap=True)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _print_table(console: Console, table: Table, file: Path) -> None:
    """With folded names and as many figures, from the first one, as fit."""
    mark = "" if console.is_terminal else "**"
    lines = [[f"{mark}{c.text}{mark}" if c.mark == "best" else c.text for c in line.cells] for line in table.lines]
    titles = [title.split() if console.width < _UNLIMITED else [title] for title in table.columns]
    widths = [max(map(len, (*title, *column))) for title, *column in zip(titles, *lines, strict=True)]
    words = [max(map(len, " ".join(column).split()), default=0) for column in zip(*lines, strict=True)]
    least = max(_MIN_NAME, console.width // _NAME_SHARE)
    kept = [max(least, min(word, console.width // _WORD_SHARE)) for word in words]
    folded = [min(width, size) for width, size in zip(widths[: table.num_names], kept, strict=False)]
    count = len(widths)
    while count > table.num_names + 1 and sum([*folded, *widths[len(folded) : count]]) + 3 * count + 1 > console.width:
        count -= 1
    shown = TerminalTable(box=box.MARKDOWN)
    for i, title in enumerate(table.columns[:count]):
        is_name = i < table.num_names
        side: Literal["left", "right"] = "left" if is_name else "right"
        shown.add_column(title, justify=side, width=None if is_name else widths[i], overflow="fold")
    for texts, line in zip(lines, table.lines, strict=True):
        cells = [Text(text, _STYLES[cell.mark]) for text, cell in zip(texts, line.cells, strict=True)]
        shown.add_row(*cells[:count], style="italic" if line.is_published else None)
    console.print(shown)
    if hidden := table.columns[count:]:
        console.print(f"Columns that do not fit: {'; '.join(hidden)}; see {relative_path(file)}\n", soft_wrap=True)
