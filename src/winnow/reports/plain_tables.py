"""A report's tables for programs: words, and figures in plain units."""

import csv
import io
from collections.abc import Iterable

from winnow.reports.cells import Cell, Results
from winnow.reports.columns import Column, columns
from winnow.reports.rows import DEPLOYED, STATED
from winnow.reports.tables import OURS, is_published_only, seeds, source


def csv_text(header: Iterable[str], lines: Iterable[Iterable[str | float | None]]) -> str:
    """What was not measured is NaN, as an empty field could be read as zero."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["NaN" if value is None else _unbroken(value) for value in line] for line in lines])
    return text.getvalue()


def _unbroken(value: str | float) -> str | float:
    """The writer does not quote a carriage return, at which readers end the line."""
    return value.replace("\r", " ") if isinstance(value, str) else value


def table(results: Results) -> tuple[list[str], list[list[str | float | None]]]:
    """One line a configuration and one a published figure, for CSV and W&B.

    Returns:
        The names of the columns, and lines of words and figures in plain units: fractions, bytes, seconds; of each
        figure the mean, the standard deviation (``_sd``) and the number of seeds (``_n``). None: not measured.
    """
    settings = list(dict.fromkeys(name for cell in results.cells for name in cell.settings))
    figures = columns(results.cells)
    header = ["task", "model", "recipe", "teacher", *settings, "source", "status", "seeds"]
    header += [f"{column.name}{part}" for column in figures for part in ("", "_sd", "_n")]
    lines: list[list[str | float | None]] = []
    for cell in results.cells:
        set_to = [cell.settings.get(name, "") for name in settings]
        if not is_published_only(cell):
            measured = [value for column in figures for value in _plain(column, cell)]
            words = [cell.task, cell.model, cell.recipe, cell.teacher, *set_to, OURS, status(cell)]
            lines.append([*words, len(cell.rows), *measured])
        for each in cell.published:
            theirs = [value for column in figures for value in (each.metrics.get(column.name), None, None)]
            words = [cell.task, each.model, cell.recipe, cell.teacher, *([""] * len(settings)), source(each)]
            lines.append([*words, "published", None, *theirs])
    return header, lines


def status(cell: Cell) -> str:
    reasons = [f"seed {each['seed']}: {each['error']}" for each in cell.failed]
    return "; ".join(["ok" if cell.rows and not (cell.failed or cell.missing) else seeds(cell), *reasons])


def _plain(column: Column, cell: Cell) -> tuple[float | None, float | None, float | None]:
    statistic = column.statistic(cell)
    return (statistic.mean, statistic.deviation, len(statistic.values)) if statistic else (None, None, 0)


def run_table(results: Results) -> tuple[list[str], list[list[str | float | None]]]:
    """The same, one line a run."""
    settings = list(dict.fromkeys(name for cell in results.cells for name in cell.settings))
    metrics = list(dict.fromkeys(name for cell in results.cells for name in cell.metrics))
    header = ["task", "model", "recipe", "teacher", *settings, "seed", "status", "error", "folder"]
    lines: list[list[str | float | None]] = []
    for cell in results.cells:
        words = [cell.task, cell.model, cell.recipe, cell.teacher, *(cell.settings.get(name, "") for name in settings)]
        nothing = [None] * (len(metrics) + len(STATED) + len(DEPLOYED))
        for row in cell.rows:
            measured = row["metrics"] | {f"{name} (test)": value for name, value in row["test_metrics"].items()}
            values = [measured.get(name) for name in metrics] + [row[name] for name in STATED]
            values += [row["deployment"].get(name) for name in DEPLOYED.values()]
            lines.append([*words, row["seed"], "ok", "", str(row["folder"]), *values])
        for each in cell.failed:
            lines.append([*words, each["seed"], "failed", each["error"], str(each["folder"]), *nothing])
        lines += [[*words, seed, "missing", "", "", *nothing] for seed in cell.missing]
    return [*header, *metrics, *STATED, *DEPLOYED], lines
