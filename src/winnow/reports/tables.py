"""A report's tables for people, one a task: texts that Markdown, LaTeX and HTML put in their own dress."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from winnow.reports.cells import Cell, Published, Results, comparable
from winnow.reports.columns import Column, columns

NOT_MEASURED = "\N{EN DASH}"
OURS = "ours"


@dataclass(frozen=True)
class Entry:
    """What stands in a line under a column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """The lines of one task, and beneath each the published figures that belong beside it.

    Args:
        title: the task, and the model where there is one.
        columns: their titles.
        words: so many columns come first that hold words; the others hold figures.
        lines: an entry for each column.
    """

    title: str
    columns: list[str]
    words: int
    lines: list[list[Entry]]


def tables(results: Results) -> list[Table]:
    return [_table(task, list(cells)) for task, cells in itertools.groupby(results.cells, lambda cell: cell.task)]


def _table(task: str, cells: list[Cell]) -> Table:
    models = {cell.model for cell in cells if not is_published_only(cell)}
    models |= {published.model for cell in cells for published in cell.published if published.model}
    settings = list(dict.fromkeys(name for cell in cells for name in cell.settings))
    with_source = any(cell.published for cell in cells)
    words = ["model"] * (len(models) > 1) + ["recipe", "teacher", *settings] + ["source"] * with_source + ["seeds"]
    measured = columns(cells)
    figures = [_figures(column, cells) for column in measured]
    lines = []
    for i, cell in enumerate(cells):
        said = {name: cell.settings.get(name, NOT_MEASURED) for name in settings}
        said |= {"recipe": cell.recipe, "teacher": cell.teacher}
        if not is_published_only(cell):
            ours = said | {"model": cell.model, "source": OURS, "seeds": seeds(cell)}
            lines.append([*(Entry(ours[name]) for name in words), *(entries[i] for _, entries in figures)])
        for each in cell.published:
            theirs = said | dict.fromkeys(settings, NOT_MEASURED)
            theirs |= {"model": each.model, "source": source(each), "seeds": NOT_MEASURED}
            lines.append([*(Entry(theirs[name]) for name in words), *_published_entries(each, measured)])
    title = f"{task}, {models.pop()}" if len(models) == 1 else task
    return Table(title, [*words, *(title for title, _ in figures)], len(words), lines)


def seeds(cell: Cell) -> str:
    """How many seeds a line is the mean of, and what became of the others."""
    said = [str(len(cell.rows))] if cell.rows else []
    if cell.failed:
        said.append(f"failed: {len(cell.failed)} of {len(cell.rows) + len(cell.failed) + len(cell.missing)}")
    if cell.missing:
        said.append(f"missing: seed{'s' * (len(cell.missing) > 1)} {', '.join(map(str, cell.missing))}")
    return "; ".join(said) + (" (reference)" if cell.reference else "")


def source(published: Published) -> str:
    return f"{published.source}, {published.note}" if published.note else published.source


def is_published_only(cell: Cell) -> bool:
    return not (cell.rows or cell.failed or cell.missing)


def _figures(column: Column, cells: Sequence[Cell]) -> tuple[str, list[Entry]]:
    """A column's title, and what stands in it; means over fewer seeds than their lines have say so, or it for all."""
    found = [column.statistic(cell) for cell in cells]
    seeds = [len(statistic.values) if statistic else 0 for statistic in found]
    fewer = [f" (n={n})" if 0 < n < len(cell.rows) else "" for n, cell in zip(seeds, cells, strict=True)]
    of_all = max(fewer) if len({n for n in seeds if n}) == 1 else ""
    best = _best(column, cells)
    entries = [
        Entry(_text(column, cell) + ("" if of_all else n), id(cell) in best)
        for cell, n in zip(cells, fewer, strict=True)
    ]
    return column.title + of_all, entries


def _text(column: Column, cell: Cell) -> str:
    if statistic := column.statistic(cell):
        return column.text(statistic)
    return NOT_MEASURED if cell.rows else "failed" if cell.failed else "missing"


def _published_entries(published: Published, figures: Iterable[Column]) -> list[Entry]:
    """With the digits that were published, or ours where these are fewer."""
    return [Entry(_rounded(published.metrics.get(column.name), column)) for column in figures]


def _rounded(value: float | None, column: Column) -> str:
    if value is None:
        return NOT_MEASURED
    ours = column.number(value)
    return ours if len(str(value)) > len(ours) else str(value)


def _best(column: Column, cells: Sequence[Cell]) -> set[int]:
    """The ids of those whose figure is the best as it is shown; none where nothing is to choose."""
    if column.name == "recovery":
        cells = [cell for cell in cells if not cell.is_dense]  # it recovers nothing
    means = {id(cell): found.mean for cell in comparable(cells, column.statistic) if (found := column.statistic(cell))}
    if column.best is None or len({column.number(mean) for mean in means.values()}) < 2:
        return set()
    best = column.number(column.best(means.values()))
    return {cell for cell, mean in means.items() if column.number(mean) == best}
