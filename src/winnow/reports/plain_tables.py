"""A report's tables for programs: names, and figures as fractions, bytes and seconds; what was not measured is None."""

import csv
import io
from collections.abc import Iterable

from winnow.reports.columns import columns
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
    for line in lines:  # the writer does not quote a carriage return, which readers take for the end of the line
        values = ["NaN" if value is None else value for value in line]
        writer.writerow([value.replace("\r", " ") if isinstance(value, str) else value for value in values])
    return text.getvalue()


def group_table(results: Results) -> tuple[list[str], list[list[Value]]]:
    """One line a configuration and one a published figure, for CSV and W&B.

    Returns:
        The names of the columns, and lines with the mean, the standard deviation (``_sd``) and the number of seeds
        (``_n``) of each figure.
    """
    figures = [column.name for column in columns(results.groups)]
    header = ["task", "model", "recipe", "teacher", *results.shown_settings, "source", "status", "seeds"]
    header += [f"{name}{part}" for name in figures for part in ("", "_sd", "_n")]
    lines: list[list[Value]] = []
    for group in results.groups:
        if group.has_runs:
            reasons = [f"seed {run.seed}: {run.error}" for run in group.failed]
            status = "; ".join([seeds(group) if group.failed or group.missing else "ok", *reasons])
            found = [group.values(name) for name in figures]
            measured = [value for v in found for value in ((mean(v), sd(v), len(v)) if v else (None, None, 0))]
            lines.append([*_names(results, group), OURS, status, len(group.runs), *measured])
        for row in group.published:
            theirs = [value for name in figures for value in (row.metrics.get(name), None, None)]
            names = [group.task, row.model, group.recipe, group.teacher, *("" for _ in results.shown_settings)]
            lines.append([*names, row.source, "published", None, *theirs])
    return header, lines


def run_table(results: Results) -> tuple[list[str], list[list[Value]]]:
    """One line a run, with its metrics and figures."""
    figures = [*dict.fromkeys(name for group in results.groups for name in group.metrics), *FIGURES]
    header = ["task", "model", "recipe", "teacher", *results.shown_settings, "seed", "status", "error", "folder"]
    lines: list[list[Value]] = []
    for group in results.groups:
        for row in (*group.runs, *group.failed, *group.missing):
            folder = "" if row.status == "missing" else str(row.folder)
            error = row.error if row.status == "failed" else ""
            values = [row.figure(name) if row.status == "ok" else None for name in figures]
            lines.append([*_names(results, group), row.seed, row.status, error, folder, *values])
    return [*header, *figures], lines


def _names(results: Results, group: Group) -> list[str]:
    return [*group.names, *(group.shown_settings.get(name, "") for name in results.shown_settings)]
