"""Which rows are seeds of one configuration, what is planned and missing, and which published figures belong to it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.config.labels import model_label
from winnow.reports.find import Found
from winnow.text import relative_path

NAMES = ("model.name", "teacher.name")  # settings that the words of a line say


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
    jobs = {job["folder"]: job for job in found.jobs}
    identities = _identities(found.rows, jobs)
    alike: dict[Any, list[dict[str, Any]]] = {}
    planned: dict[Any, list[dict[str, Any]]] = {}
    for job in found.jobs:
        alike.setdefault(identities(job), [])
        planned.setdefault(identities(job), []).append(job)
    for row in found.rows:
        alike.setdefault(identities(row), []).append(row)
    return ordered(_group(rows, planned.get(identity, []), found.left_out) for identity, rows in alike.items())


def _identities(
    rows: Iterable[dict[str, Any]], jobs: Mapping[Path, dict[str, Any]]
) -> Callable[[Mapping[str, Any]], Any]:
    """What the seeds of one configuration share, of rows and jobs: the fingerprint without the seed where it is known;
    a job, an older row, and one that failed early have words and settings alone.
    """

    def words(row: Mapping[str, Any]) -> Any:
        said = jobs.get(row["folder"], row)  # a plan's words are the same for all its seeds
        return Group.like(said).words, tuple(sorted(said["settings"].items()))

    known = {key: row["cell"] for row in rows if row.get("cell") for key in (words(row), words(row | {"folder": None}))}
    return lambda row: row.get("cell") or known.get(words(row), words(row))


def _group(rows: Sequence[dict[str, Any]], jobs: Sequence[dict[str, Any]], left_out: list[str]) -> Group:
    """Of each seed the newest good row, else the newest failed one, else it is missing."""
    named = [*rows, *jobs]
    group = Group.like(next((each for each in named if each.get("cell")), named[0]))  # that one's words are full
    group.settings = dict(named[-1]["settings"])  # a teacher lacks those that a plan has for its recipe
    for seed in sorted({each["seed"] for each in named}):
        tried = sorted((row for row in rows if row["seed"] == seed), key=lambda row: row["written"])
        good = [row for row in tried if row["status"] == "ok"]
        if not tried:
            group.missing.append(seed)
        else:
            (group.rows if good else group.failed).append((good or tried)[-1])
        if len(good) > 1:
            earlier = ", ".join(str(relative_path(row["folder"])) for row in good[:-1])
            left_out.append(f"{earlier}: a newer run of the same configuration and seed is shown instead.")
    return group


def ordered(groups: Iterable[Group]) -> list[Group]:
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
    return ordered(placed)
