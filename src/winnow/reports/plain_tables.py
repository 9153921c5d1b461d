"""A report's tables for programs: names, and figures as fractions, bytes and seconds; what was not measured is None."""

import csv
import io
from collections.abc import Iterable

from winnow.reports.columns import Column, columns
from winnow.reports.groups import Group, mean, sd
from winnow.reports.result_rows import FIGURES
from winnow.reports.results import Results
from winnow.reports.tables import OURS, seeds

Value = str | float | None


def csv_text(header: Iterable[str], lines: Iterable[Iterable[Value]]) -> str:
    """What was not measured is NaN, because an empty field could be read as zero."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["NaN" if value is None else _without_returns(value) for value in line] for line in lines])
    return text.getvalue()


def group_table(results: Results) -> tuple[list[str], list[list[Value]]]:
    """One line a configuration and one a published figure, for CSV and W&B.

    Returns:
        The names of the columns, and lines with the mean, the standard deviation (``_sd``) and the number of seeds
        (``_n``) of each figure.
    """
    figures = columns(results.groups)
    header = ["task", "model", "recipe", "teacher", *results.shown_settings, "source", "status", "seeds"]
    header += [f"{column.name}{part}" for column in figures for part in ("", "_sd", "_n")]
    lines: list[list[Value]] = []
    for group in results.groups:
        if group.has_runs:
            measured = [value for column in figures for value in _mean_sd_n(column, group)]
            lines.append([*_names(results, group), OURS, status(group), len(group.runs), *measured])
        for row in group.published:
            theirs = [value for column in figures for value in (row.metrics.get(column.name), None, None)]
            names = [group.task, row.model, group.recipe, group.teacher, *("" for _ in results.shown_settings)]
            lines.append([*names, row.source, "published", None, *theirs])
    return header, lines


def run_table(results: Results) -> tuple[list[str], list[list[Value]]]:
    """The same with one line a run."""
    metrics = list(dict.fromkeys(name for group in results.groups for name in group.metrics))
    header = ["task", "model", "recipe", "teacher", *results.shown_settings, "seed", "status", "error", "folder"]
    lines: list[list[Value]] = []
    for group in results.groups:
        for row in (*group.runs, *group.failed, *group.missing):
            folder = "" if row.status == "missing" else str(row.folder)
            error = row.error if row.status == "failed" else ""
            values = [row.figure(name) if row.status == "ok" else None for name in (*metrics, *FIGURES)]
            lines.append([*_names(results, group), row.seed, row.status, error, folder, *values])
    return [*header, *metrics, *FIGURES], lines


def status(group: Group) -> str:
    """``ok`` if all seeds succeeded, else how many did and why the others failed."""
    reasons = [f"seed {run.seed}: {run.error}" for run in group.failed]
    return "; ".join(["ok" if group.runs and not (group.failed or group.missing) else seeds(group), *reasons])


def _names(results: Results, group: Group) -> list[str]:
    return [*group.names, *(group.shown_settings.get(name, "") for name in results.shown_settings)]


def _mean_sd_n(column: Column, group: Group) -> tuple[float | None, float | None, float | None]:
    values = group.values(column.name)
    return (mean(values), sd(values), len(values)) if values else (None, None, 0)


def _without_returns(value: str | float) -> str | float:
    """The writer does not quote a carriage return, which readers take for the end of the line."""
    return value.replace("\r", " ") if isinstance(value, str) else value
