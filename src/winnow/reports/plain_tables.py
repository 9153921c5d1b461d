"""A report's tables for programs: names, and figures as fractions, bytes and seconds; what was not measured is None."""

import csv
import io
from collections.abc import Iterable

from winnow.errors import visible
from winnow.reports.columns import columns
from winnow.reports.groups import Group, mean, sd
from winnow.reports.result_rows import FIGURES
from winnow.reports.results import Results
from winnow.reports.tables import OURS, seeds

Value = str | float | None

_FORMULA = ("=", "+", "-", "@", "\t")  # a cell that begins so is computed by spreadsheets


def csv_text(header: Iterable[str], lines: Iterable[Iterable[Value]]) -> str:
    """What was not measured is NaN, because an empty field could be read as zero."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for line in (header, *lines):
        values = ["NaN" if value is None else value for value in line]
        writer.writerow([_text(value) if isinstance(value, str) else value for value in values])
    return text.getvalue()


def _text(value: str) -> str:
    """A cell of text; an apostrophe before what a spreadsheet would compute as a formula, unless it is a number."""
    value = value.replace("\r", " ")  # the writer does not quote it, but readers take it for the end of the line
    return f"'{value}" if value.startswith(_FORMULA) and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
            folder = "" if row.status == "missing" else visible(str(row.folder))
            error = row.error if row.status == "failed" else ""
            values = [row.figure(name) if row.status == "ok" else None for name in figures]
            lines.append([*_names(results, group), row.seed, row.status, error, folder, *values])
    return [*header, *figures], lines


def _names(results: Results, group: Group) -> list[str]:
    return [*group.names, *(group.shown_settings.get(name, "") for name in results.shown_settings)]
