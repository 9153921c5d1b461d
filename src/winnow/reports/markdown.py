"""A report in Markdown, as GitHub renders it; its columns are padded, so that it can be read as plain text too."""

import re
from collections.abc import Iterator, Sequence

from winnow.reports.groups import Group
from winnow.reports.results import Results
from winnow.reports.tables import Cell, Table, tables

_SPECIAL = re.compile(r"([\\`*<>\[\]|~#$&]|\b_|_\b)")


def markdown(results: Results) -> str:
    """Tables, why runs failed, notes and what was left out."""
    parts = ["# Results"]
    parts += [f"## {_escaped(each.title)}\n\n" + "\n".join(_lines(each)) for each in tables(results)]
    parts += _section("Failed", [f"{_escaped(name)}: `{error}`" for name, error in failures(results.groups)])
    parts += _section("Notes", [_escaped(note) for note in results.notes])
    parts += _section("Left out", [_escaped(sentence) for sentence in results.left_out])
    return "\n\n".join(parts) + "\n"


def failures(groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    """For each reason of a failure in each group the group with its seeds, and the reason."""
    for group in groups:
        for error in dict.fromkeys(run.error for run in group.failed):
            seeds = ", ".join(str(run.seed) for run in group.failed if run.error == error)
            yield f"{group.task}: {group.label}, seed {seeds}", error.replace("`", "'")


def _lines(table: Table) -> Iterator[str]:
    texts = [[_escaped(title) for title in table.columns]]
    texts += [[_formatted(cell) for cell in line.cells] for line in table.lines]
    widths = [max(3, *(len(line[i]) for line in texts)) for i in range(len(table.columns))]
    sides = [str.ljust if i < table.num_names else str.rjust for i in range(len(widths))]
    rule = ["-" * width if i < table.num_names else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    texts = [[side(text, width) for side, text, width in zip(sides, line, widths, strict=True)] for line in texts]
    yield from (f"| {' | '.join(line)} |" for line in [texts[0], rule, *texts[1:]])


def _formatted(cell: Cell) -> str:
    return f"**{cell.text}**" if cell.mark == "best" else _escaped(cell.text)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _section(title: str, sentences: Sequence[str]) -> list[str]:
    return [f"## {title}\n\n" + "\n".join(f"- {sentence}" for sentence in sentences)] if sentences else []
