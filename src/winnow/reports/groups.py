"""A group holds the rows of one configuration, which differ only in their seeds: one line of the results table."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.reports.folder_scan import Scan
from winnow.reports.result_rows import TEST, Row
from winnow.text import relative_path

mean = statistics.fmean
NAME_SETTINGS = ("model.name", "teacher.name")  # settings that the names of a group already give


@dataclass(eq=False)
class Group:
    """The rows of one configuration."""

    names: tuple[str, str, str, str]
    settings: Mapping[str, str] = field(default_factory=dict)  # all of its command lines
    runs: list[Row] = field(default_factory=list)  # successful ones, of each seed the newest, ordered by seed
    failed: list[Row] = field(default_factory=list)  # one run for each seed without a successful one
    missing: list[Row] = field(default_factory=list)
    published: list[Row] = field(default_factory=list)
    is_reference: bool = False  # dense, from outside the folders of the report
    shown_settings: dict[str, str] = field(default_factory=dict)  # in which the groups of a task differ
    title: str = ""  # what distinguishes it from the groups of its task with the same teacher

    def __post_init__(self) -> None:
        self.task, self.model, self.recipe, self.teacher = self.names

    @property
    def label(self) -> str:
        return self.title if self.teacher == "none" else f"{self.title}, {self.teacher}"

    @property
    def changed_settings(self) -> list[str]:
        """The shown settings without those at their defaults, by short names."""
        settings = short_names(self.shown_settings).items()
        return [f"{name}={Path(value).name}" for name, value in settings if value != "default"]

    @property
    def is_dense(self) -> bool:
        return (self.recipe, self.teacher) == ("dense", "none")

    @property
    def has_runs(self) -> bool:
        """False if there are published figures only."""
        return bool(self.runs or self.failed or self.missing)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics of any run in the task's order, those on the test split last."""
        longest_first = sorted(self.runs, key=lambda run: -len(run.metrics))
        names = dict.fromkeys(name for run in longest_first for name in run.metrics)
        return sorted(names, key=lambda name: name.endswith(TEST))

    def values(self, name: str) -> tuple[float, ...]:
        """One metric or figure of each run that has it."""
        return tuple(value for run in self.runs if (value := run.figure(name)) is not None)


def sd(values: Sequence[float]) -> float | None:
    """The sample standard deviation; None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def smaller_is_better(metric: str) -> bool:
    return metric.removesuffix(TEST).endswith(("error", "perplexity"))


def main_metric(groups: Iterable[Group]) -> str:
    """The first metric of a task; empty if nothing was measured."""
    return next((group.metrics[0] for group in groups if group.metrics), "")


def comparable(groups: Iterable[Group], name: str) -> list[Group]:
    """Groups whose mean may be called the best: no seed failed or is missing, and they have as many as most."""
    complete = [group for group in groups if group.values(name) and not (group.failed or group.missing)]
    usual = max(statistics.multimode(len(group.values(name)) for group in complete), default=0)
    return [group for group in complete if len(group.values(name)) >= usual]


def same_latency_conditions(groups: Iterable[Group]) -> bool:
    """True if all latencies were measured with one processor, number of threads and input length."""
    return len({run.latency_conditions for group in groups for run in group.runs if run.latency}) <= 1


def short_names(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings by the last part of their names where it is unique, else by their full names."""
    last = {name: name.split(".")[-1] for name in settings}
    parts = list(last.values())
    return {last[name] if parts.count(last[name]) == 1 else name: value for name, value in settings.items()}


def group_rows(found: Scan) -> list[Group]:
    """The groups in the order of the sweeps' plans, then of the other rows, task by task, dense groups first.

    Rows of a configuration share the fingerprint without the seed. A planned run, an older row and a run that failed
    early have names and settings only; those of the plan are preferred, as they are written alike for all seeds.
    """
    jobs = {job.folder: job for plan in found.plans for job in plan.jobs}

    def key(row: Row) -> Any:
        return row.names, tuple(sorted(row.settings.items()))

    cells = {key(each): row.cell for row in found.rows if row.cell for each in (jobs.get(row.folder, row), row)}
    rows: dict[Any, list[Row]] = {}
    for row in (*jobs.values(), *found.rows):
        planned = key(jobs.get(row.folder, row))
        rows.setdefault(row.cell or cells.get(planned, planned), []).append(row)
    return by_task(_group(alike, found.left_out) for alike in rows.values())


def _group(rows: Sequence[Row], left_out: list[str]) -> Group:
    """A group of the newest successful run of each seed, else the newest failed one, else the planned one."""
    planned = [row for row in rows if row.status == "missing"]
    ended = sorted((row for row in rows if row.status != "missing"), key=lambda row: row.written)
    named = next((row for row in ended if row.cell), (ended or planned)[0])  # only its names are certain to be resolved
    group = Group(named.names, settings=(planned or ended)[-1].settings)  # a teacher's row lacks settings of its plan
    for seed in sorted({row.seed for row in rows}):
        tried = [row for row in ended if row.seed == seed]
        good = [row for row in tried if row.status == "ok"]
        if good:
            group.runs.append(good[-1])
        elif tried:
            group.failed.append(tried[-1])
        else:
            group.missing.append(next(row for row in planned if row.seed == seed))
        if len(good) > 1:
            earlier = ", ".join(str(relative_path(row.folder)) for row in good[:-1])
            left_out.append(f"{earlier}: a newer run of the same configuration and seed is used instead.")
    return group


def by_task(groups: Iterable[Group]) -> list[Group]:
    """The groups task by task, dense ones first, otherwise in the same order."""
    groups = list(groups)
    tasks = list(dict.fromkeys(group.task for group in groups))
    return sorted(groups, key=lambda group: (tasks.index(group.task), not group.is_dense))


def add_published(groups: Sequence[Group], published: Iterable[Row]) -> list[Group]:
    """The groups with the published figures for their task, recipe and teacher, if possible also for their model.

    Figures without such a group are a group by themselves, unless the report has no run of their task.
    """
    tasks, placed = {group.task for group in groups}, list(groups)
    for row in published:
        fitting = [g for g in placed if (g.task, g.recipe, g.teacher) == (row.task, row.recipe, row.teacher)]
        if not fitting and row.task in tasks:
            fitting = [Group(row.names)]
            placed += fitting
        for group in [group for group in fitting if group.model == row.model] or fitting:
            if row not in group.published:  # two sweeps of one experiment repeat them
                group.published.append(row)
    return by_task(placed)
