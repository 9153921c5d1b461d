"""Which rows are seeds of one configuration, what is planned and missing, and which dense run is whose reference."""

import glob
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.config import model_label
from src.reports.rows import Found, find
from src.reports.summary import shortened


@dataclass
class Group:
    """The rows of one configuration.

    Args:
        settings: all that its command lines set.
        rows: good ones, of each seed the newest, ordered by seed.
        failed: of seeds without a good row.
        missing: seeds that are planned and have no row.
        published: rows of sweep.json beside which it stands.
        reference: a dense run from outside the folders of the report.
    """

    task: str
    model: str
    recipe: str
    teacher: str
    settings: dict[str, str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    published: list[dict[str, Any]] = field(default_factory=list)
    reference: bool = False

    @classmethod
    def like(cls, row: Mapping[str, Any]) -> "Group":
        """An empty one for a row, a planned job or a published figure."""
        words = (row["task"], model_label(row["model"]), row["recipe"], model_label(row["teacher"]))
        return cls(*words, settings=dict(row.get("settings") or {}))

    @property
    def words(self) -> tuple[str, ...]:
        return self.task, self.model, self.recipe, self.teacher

    @property
    def is_ours(self) -> bool:
        """False where there are published figures alone."""
        return bool(self.rows or self.failed or self.missing)

    @property
    def is_dense(self) -> bool:
        return (self.recipe, self.teacher) == ("dense", "none")

    @property
    def main_metric(self) -> str | None:
        """The first in the task's order."""
        return next((name for row in self.rows for name in row["metrics"]), None)


def group_rows(found: Found) -> list[Group]:
    """The configurations in the order of the sweeps' plans, then of the other rows, task by task, dense runs first."""
    by_identity: dict[Any, list[dict[str, Any]]] = {}
    planned = {job["folder"]: place for place, job in enumerate(found.jobs)}
    rows = sorted(found.rows, key=lambda row: planned.get(row["folder"], len(planned)))  # stable
    for row in rows:
        by_identity.setdefault(_identity(row), []).append(row)
    groups = {identity: _group(alike, found.left_out) for identity, alike in by_identity.items()}
    identities = {row["folder"]: _identity(row) for row in rows}
    places = {identity: planned.get(alike[0]["folder"], len(planned)) for identity, alike in by_identity.items()}
    for jobs in _alike(found.jobs):
        known = next((identities[job["folder"]] for job in jobs if job["folder"] in identities), None)
        if known is None:
            empty = Group.like(jobs[0])
            known = next((i for i, g in groups.items() if (g.words, g.settings) == (empty.words, empty.settings)), None)
            if known is None:
                known = ("planned", len(groups))
                groups[known] = empty
                places[known] = planned[jobs[0]["folder"]]
        group = groups[known]
        seen = {row["seed"] for row in (*group.rows, *group.failed)} | set(group.missing)
        group.missing = sorted({*group.missing, *(job["seed"] for job in jobs if job["seed"] not in seen)})
    return _ordered(groups[identity] for identity in sorted(groups, key=lambda identity: places[identity]))


def _identity(row: Mapping[str, Any]) -> Any:
    """What the seeds of one configuration share; older rows do not say it."""
    return row.get("cell") or (
        *(row[word] for word in ("task", "model", "recipe", "teacher")),
        *sorted(row["settings"].items()),
    )


def _group(alike: Sequence[dict[str, Any]], left_out: list[str]) -> Group:
    """Of each seed the newest good row, else the newest failed one."""
    group = Group.like(alike[0])
    for seed in sorted({row["seed"] for row in alike}):
        tried = sorted((row for row in alike if row["seed"] == seed), key=lambda row: row["written"])
        good = [row for row in tried if row["status"] == "ok"]
        (group.rows if good else group.failed).append((good or tried)[-1])
        if len(good) > 1:
            earlier = ", ".join(str(shortened(row["folder"])) for row in good[:-1])
            left_out.append(f"{earlier}: a newer run of the same configuration and seed is shown instead.")
    return group


def _alike(jobs: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Planned jobs that differ in nothing but their seeds."""

    def key(job: Mapping[str, Any]) -> Any:
        return *(job[word] for word in ("task", "model", "recipe", "teacher")), sorted(job["settings"].items())

    return (list(alike) for _, alike in itertools.groupby(sorted(jobs, key=key), key=key))


def _ordered(groups: Iterable[Group]) -> list[Group]:
    by_task: dict[str, list[Group]] = {}
    for group in groups:
        by_task.setdefault(group.task, []).append(group)
    return [group for alike in by_task.values() for group in sorted(alike, key=lambda group: not group.is_dense)]


def place_published(groups: list[Group], published: Iterable[dict[str, Any]]) -> list[Group]:
    """The groups, each with the published rows of its task, recipe and teacher, of its model if any has that; a row
    without such a group stands as one of its own, unless no group is of its task.
    """
    tasks, placed = {group.task for group in groups}, list(groups)
    for row in published:
        own = Group.like(row)
        fitting = [group for group in placed if (group.task, *group.words[2:]) == (own.task, *own.words[2:])]
        same_model = [group for group in fitting if group.model == own.model]
        if not fitting and own.task in tasks:
            placed.append(own)
        for group in same_model or fitting or [own]:
            if row not in group.published:  # of two sweeps of one experiment
                group.published.append(row)
    return _ordered(placed)


def add_references(groups: list[Group]) -> list[Group]:
    """The groups, and for those without a dense run of their task and model the one that lies elsewhere in the same
    outputs, with the seeds that are needed.
    """
    added: list[Group] = []
    for task in dict.fromkeys(group.task for group in groups):
        alone = [g for g in groups if g.task == task and g.rows and dense_of(g, groups) is None]
        elsewhere = group_rows(find(_dense_folders(task, alone)))
        for group in alone:
            dense = dense_of(group, elsewhere)
            if dense is not None and not dense.reference:
                seeds = {row["seed"] for each in alone if each.model == dense.model for row in each.rows}
                dense.rows = [row for row in dense.rows if row["seed"] in seeds]
                dense.failed, dense.reference = [], True
                added.append(dense)
    return _ordered([*groups, *added])


def _dense_folders(task: str, groups: Iterable[Group]) -> list[Path]:
    """Where their dense runs may lie: among the other runs and sweeps of the same outputs."""
    rows = [row for group in groups for row in group.rows]
    outputs = {above.parent for row in rows for above in row["folder"].parents if above.name in ("runs", "sweeps")}
    patterns = [glob.escape(task).join(parts) for parts in (("runs/", "/dense-none-*"), ("sweeps/*/", "-dense-none-*"))]
    return sorted({path for folder in outputs for pattern in patterns for path in folder.glob(pattern)})


def dense_of(group: Group, groups: Iterable[Group]) -> Group | None:
    """The dense runs to which a configuration is compared: of the same task, model and data, of the same seeds,
    otherwise the one that is set most alike.
    """
    seeds = {row["seed"] for row in group.rows}

    def distance(dense: Group) -> tuple[int, int]:
        shared = seeds & {row["seed"] for row in dense.rows}
        return -len(shared), len(set(dense.settings.items()) ^ set(group.settings.items()))

    fitting = [
        g for g in groups if g.is_dense and g.rows and g.words[:2] == group.words[:2] and _data(g) == _data(group)
    ]
    return min((g for g in fitting if distance(g)[0] < 0), key=distance, default=None)


def _data(group: Group) -> dict[str, str]:
    """The settings that concern the task or the model."""
    return {name: value for name, value in group.settings.items() if name.startswith(("task.", "model."))}
