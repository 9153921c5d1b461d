"""A report's tables for people, one a task, which Markdown, LaTeX, HTML and the terminal format in their own ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from winnow.reports.columns import Column, columns
from winnow.reports.groups import Group, comparable, mean
from winnow.reports.results import Results

NOT_MEASURED = "\N{EN DASH}"
OURS = "ours"
_SETTINGS = "settings"
_MOST_COLUMNS = 2  # of settings; more settings share one, else the figures are out of sight


class Cell(NamedTuple):
    """``mark``: the best value of a column, a gap where nothing was measured, or bad if runs failed or are missing."""

    text: str
    mark: Literal["", "best", "gap", "bad"] = ""


_GAP = Cell(NOT_MEASURED, "gap")


class Line(NamedTuple):
    cells: list[Cell]
    is_published: bool


@dataclass(frozen=True)
class Table:
    """The lines of one task; published figures are below the group with which they are compared."""

    title: str
    columns: list[str]
    num_names: int  # of columns before the figures
    lines: list[Line]


def tables(results: Results) -> list[Table]:
    return [_table(groups) for groups in results.tasks]


def seeds(group: Group) -> str:
    """How many seeds succeeded, failed and are missing."""
    parts = [str(len(group.runs))] if group.runs else []
    if group.failed:
        total = len(group.runs) + len(group.failed) + len(group.missing)
        parts.append(f"failed: {len(group.failed)} of {total}")
    if group.missing:
        parts.append(f"missing: seed{'s' * (len(group.missing) > 1)} {', '.join(str(m.seed) for m in group.missing)}")
    return "; ".join(parts) + (" (reference)" if group.is_reference else "")


def _table(groups: Sequence[Group]) -> Table:
    models = {group.model for group in groups if group.has_runs}
    models |= {row.model for group in groups for row in group.published}
    settings = list(dict.fromkeys(name for group in groups for name in group.shown_settings))
    settings = [_SETTINGS] if len(settings) > _MOST_COLUMNS else settings
    has_sources = any(group.published for group in groups)
    names = ["model"] * (len(models) > 1) + ["recipe", "teacher", *settings] + ["source"] * has_sources + ["seeds"]
    measured = columns(groups)
    figures = [_figures(column, groups) for column in measured]
    lines = []
    for i, group in enumerate(groups):
        shared = {"recipe": group.recipe, "teacher": group.teacher}
        if group.has_runs:
            joined = {_SETTINGS: ", ".join(group.changed_settings) or "default"}
            own = joined | group.shown_settings | shared | {"model": group.model, "source": OURS}
            cells = [Cell(own[name]) if name in own else _GAP for name in names[:-1]]
            cells.append(Cell(seeds(group), "bad" if group.failed or group.missing else ""))
            lines.append(Line([*cells, *(cells_of_column[i] for _, cells_of_column in figures)], is_published=False))
        for row in group.published:
            theirs = shared | {"model": row.model, "source": row.source}
            cells = [Cell(theirs[name]) if name in theirs else _GAP for name in names]
            for column in measured:  # with the digits that were published, or those of the column if these are fewer
                value = row.metrics.get(column.name)
                cells.append(_GAP if value is None else Cell(min(str(value), column.number(value), key=len)))
            lines.append(Line(cells, is_published=True))
    title = f"{groups[0].task}, {models.pop()}" if len(models) == 1 else groups[0].task
    return Table(title, [*names, *(title for title, _ in figures)], len(names), lines)


def _figures(column: Column, groups: Sequence[Group]) -> tuple[str, list[Cell]]:
    """A column's title and cells. A mean over fewer seeds than its line has says so, in the title if all do alike."""
    counts = [len(group.values(column.name)) for group in groups]
    fewer = [f" (n={n})" if 0 < n < len(group.runs) else "" for n, group in zip(counts, groups, strict=True)]
    in_title = max(fewer) if len({n for n in counts if n}) == 1 else ""
    best = _best(column, groups)
    cells = []
    for group, n in zip(groups, fewer, strict=True):
        if values := group.values(column.name):
            cells.append(Cell(column.text(values) + ("" if in_title else n), "best" if group in best else ""))
        else:
            cells.append(_GAP if group.runs else Cell("failed" if group.failed else "missing", "bad"))
    return column.title + in_title, cells


def _best(column: Column, groups: Sequence[Group]) -> set[Group]:
    """Those whose mean is the best as the table shows it; none if there is no choice."""
    if column.name == "recovery":
        groups = [group for group in groups if not group.is_dense]  # the reference itself
    means = {group: mean(group.values(column.name)) for group in comparable(groups, column.name)}
    if column.best is None or len({column.number(value) for value in means.values()}) < 2:
        return set()
    best = column.number(column.best(means.values()))
    return {group for group, value in means.items() if column.number(value) == best}
