"""A report's tables for people, one a task: texts that Markdown, LaTeX and HTML put in their own dress."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from src.reports.cells import Cell, Published, Results, comparable
from src.reports.columns import Column, columns

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
    figures = columns(cells)
    best = [_best(column, cells) for column in figures]
    lines = []
    for cell in cells:
        said = {
            "model": cell.model,
            "recipe": cell.recipe,
            "teacher": cell.teacher,
            "source": OURS,
            "seeds": seeds(cell),
        }
        said |= {name: cell.settings.get(name, NOT_MEASURED) for name in settings}
        if not is_published_only(cell):
            entries = [_entry(column, cell, id(cell) in of) for column, of in zip(figures, best, strict=True)]
            lines.append([*(Entry(said[name]) for name in words), *entries])
        for published in cell.published:
            theirs = {"model": published.model, "source": source(published), "seeds": NOT_MEASURED}
            theirs |= dict.fromkeys(settings, NOT_MEASURED)
            lines.append([Entry((said | theirs)[name]) for name in words] + _published_entries(published, figures))
    title = f"{task}, {models.pop()}" if len(models) == 1 else task
    return Table(title, [*words, *(column.title for column in figures)], len(words), lines)


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


def _entry(column: Column, cell: Cell, best: bool) -> Entry:
    """A mean over fewer seeds than its line has says so."""
    if statistic := column.statistic(cell):
        fewer = f" (n={len(statistic.values)})" if len(statistic.values) < len(cell.rows) else ""
        return Entry(column.text(statistic) + fewer, best)
    return Entry(NOT_MEASURED if cell.rows else "failed" if cell.failed else "missing")


def _published_entries(published: Published, figures: Iterable[Column]) -> list[Entry]:
    values = [published.metrics.get(column.name) for column in figures]
    return [
        Entry(NOT_MEASURED if v is None else f"{round(v, c.decimals)}") for v, c in zip(values, figures, strict=True)
    ]


def _best(column: Column, cells: Sequence[Cell]) -> set[int]:
    """The ids of those whose figure is the best as it is shown; none where nothing is to choose."""
    if column.name == "recovery":
        cells = [cell for cell in cells if not cell.is_dense]  # it recovers nothing
    means = {id(cell): found.mean for cell in comparable(cells, column.statistic) if (found := column.statistic(cell))}
    if column.best is None or len({column.number(mean) for mean in means.values()}) < 2:
        return set()
    best = column.number(column.best(means.values()))
    return {cell for cell, mean in means.items() if column.number(mean) == best}
