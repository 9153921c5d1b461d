"""Sentences about what a reader of the figures must know: what did not run, and what the figures do not share."""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from winnow.files.locks import is_running
from winnow.reports.folder_scan import Scan, SweepPlan
from winnow.reports.groups import NAME_SETTINGS, Group, same_latency_conditions
from winnow.text import relative_path


def notes(found: Scan, groups: Sequence[Group]) -> Iterator[str]:
    for plan in found.plans:
        yield from _unfinished(plan, found)
    for row in found.rows:
        if row.status == "ok" and row.error:
            yield f"{relative_path(row.folder)}: the training succeeded, but a later step failed: {row.error}"
    tasks = {group.task for group in groups}
    published = [row.task for plan in found.plans for row in plan.published]
    for task in dict.fromkeys(task for task in published if task not in tasks):
        yield f"The published figures for {task} are not shown because this report has no run of that task."
    yield from _common_settings(groups)
    for group in groups:
        if group.is_reference:
            folders = ", ".join(str(relative_path(run.folder)) for run in group.runs)
            yield f"The dense run of {group.model} on {group.task} is outside the folders of this report: {folders}."
        data = [f"{name}={value}" for name, value in group.settings.items() if name.startswith("task.")]
        for row in group.published if group.runs else ():
            if group.model != row.model or data:
                own = ", ".join([group.model, *data])
                yield f"The published figures are for {row.model} on all of {row.task}; the runs here use {own}."
    for task, alike in itertools.groupby(groups, key=lambda group: group.task):
        if not same_latency_conditions(alike):
            yield (
                f"The latencies on {task} cannot be compared: they were measured on different processors, numbers of "
                "threads or input lengths."
            )


def _unfinished(plan: SweepPlan, found: Scan) -> Iterator[str]:
    succeeded = {row.folder for row in found.rows if row.status == "ok" and not row.error}
    ended = {row.folder for row in found.rows}
    missing = [job.folder for job in plan.jobs if job.folder not in succeeded]
    if missing:
        remedy = f"; to run them: {plan.command}" if plan.command else "."
        yield f"{len(missing)} of {len(plan.jobs)} runs of {relative_path(plan.folder)} have not succeeded{remedy}"
    for folder in missing:
        if is_running(folder, patience=0):
            yield f"{relative_path(folder)} is running."
        elif folder not in ended and os.path.isdir(folder):  # false for a name that no file system can hold
            yield f"{relative_path(folder)} has started and not ended, and no process on this machine is running it."


def _common_settings(groups: Sequence[Group]) -> Iterator[str]:
    """Settings that all runs of a task share; without this note a reader would assume the defaults."""
    tasks: dict[str, list[str]] = {}
    for task, alike in itertools.groupby(groups, key=lambda group: group.task):
        own = [group.settings for group in alike if group.has_runs and not group.is_reference]
        first = own[0].items() if own else ()
        shared = [(name, value) for name, value in first if all(each.get(name) == value for each in own)]
        texts = [f"{name}={Path(value).name}" for name, value in shared if name not in NAME_SETTINGS]
        tasks.setdefault(", ".join(texts), []).append(task)
    yield from (f"All runs on {', '.join(names)}: {settings}." for settings, names in tasks.items() if settings)
