"""A report in Markdown, as GitHub renders it; its columns are padded, so that it can be read as plain text too."""

import re
from collections.abc import Iterator, Sequence

from winnow.reports.groups import Group
from winnow.reports.results import Results
from winnow.reports.tables import Cell, Table, tables
from winnow.text import aligned

_SPECIAL = re.compile(r"([\\`*<>\[\]|~#$&]|\b_|_\b)")


def markdown(results: Results) -> str:
    """Tables, why runs failed, notes and what was left out."""
    parts = ["# Results"]
    parts += [f"## {escaped(each.title)}\n\n" + "\n".join(_lines(each)) for each in tables(results)]
    sections = {
        "Failed": [f"{escaped(name)}: `{error}`" for name, error in failures(results.groups)],
        "Notes": map(escaped, results.notes),
        "Left out": map(escaped, results.left_out),
    }
    for title, sentences in sections.items():
        if listed := [f"- {sentence}" for sentence in sentences]:
            parts.append(f"## {title}\n\n" + "\n".join(listed))
    return "\n\n".join(parts) + "\n"


def failures(groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    """For each reason of a failure in each group the group with its seeds, and the reason."""
    for group in groups:
        for error in dict.fromkeys(run.error for run in group.failed):
            seeds = ", ".join(str(run.seed) for run in group.failed if run.error == error)
            yield f"{group.task}: {group.label}, seed {seeds}", error.replace("`", "'")


def _lines(table: Table) -> Iterator[str]:
    texts = [[escaped(title) for title in table.columns]]
    texts += [[_formatted(cell) for cell in line.cells] for line in table.lines]
    return table_lines(texts, table.num_names)


def table_lines(texts: Sequence[Sequence[str]], num_names: int = 1) -> Iterator[str]:
    """A table in Markdown.

    Args:
        texts: the cells of each line, escaped; the first line has the titles.
        num_names: the columns that are aligned left.
    """
    widths = [max(3, *map(len, column)) for column in zip(*texts, strict=True)]
    rule = ["-" * width if i < num_names else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    framed = [["", *line, ""] for line in (texts[0], rule, *texts[1:])]
    yield from (line.strip() for line in aligned(framed, left=range(num_names + 1), separator=" | "))


def _formatted(cell: Cell) -> str:
    return f"**{cell.text}**" if cell.mark == "best" else escaped(cell.text)


def escaped(text: str) -> str:
    """The text on one line, with what Markdown or HTML would act on as plain characters."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
