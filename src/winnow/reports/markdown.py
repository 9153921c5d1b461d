"""A report in Markdown, as GitHub renders it; padded, so that it can be read in a terminal too."""

import re
from collections.abc import Iterator, Sequence

from winnow.reports.cells import Cell, Results
from winnow.reports.tables import Entry, Table, tables

_SPECIAL = re.compile(r"([\\`*<>\[\]|~#$&]|\b_|_\b)")


def markdown(results: Results) -> str:
    """Tables, why runs failed, notes and what was left out."""
    parts = ["# Results"]
    parts += [f"## {_escaped(each.title)}\n\n" + "\n".join(_lines(each)) for each in tables(results)]
    parts += _section("Failed", list(_failures(results.cells)))
    parts += _section("Notes", [_escaped(note) for note in results.notes])
    parts += _section("Left out", [_escaped(sentence) for sentence in results.left_out])
    return "\n\n".join(parts) + "\n"


def _lines(table: Table) -> Iterator[str]:
    texts = [[_escaped(title) for title in table.columns]] + [[_marked(each) for each in line] for line in table.lines]
    widths = [max(3, *(len(line[i]) for line in texts)) for i in range(len(table.columns))]
    sides = [str.ljust if i < table.words else str.rjust for i in range(len(widths))]
    rule = ["-" * width if i < table.words else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    texts = [[side(text, width) for side, text, width in zip(sides, line, widths, strict=True)] for line in texts]
    yield from (f"| {' | '.join(line)} |" for line in [texts[0], rule, *texts[1:]])


def _marked(entry: Entry) -> str:
    return f"**{entry.text}**" if entry.best else _escaped(entry.text)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _failures(cells: Sequence[Cell]) -> Iterator[str]:
    """A sentence a reason."""
    for cell in cells:
        for error in dict.fromkeys(each["error"] for each in cell.failed):
            seeds = ", ".join(str(each["seed"]) for each in cell.failed if each["error"] == error)
            reason = error.replace("`", "'")  # in a code span nothing is marked up
            yield f"{_escaped(f'{cell.task}: {cell.label}')}, seed {seeds}: `{reason}`"


def _section(title: str, sentences: Sequence[str]) -> list[str]:
    return [f"## {title}\n\n" + "\n".join(f"- {sentence}" for sentence in sentences)] if sentences else []
