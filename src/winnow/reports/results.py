"""The results of all runs below some folders, which every form of a report shows."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from winnow.errors import visible
from winnow.reports.folder_scan import scan
from winnow.reports.groups import NAME_SETTINGS, Group, add_published, group_rows
from winnow.reports.references import add_recovery, add_references
from winnow.reports.report_notes import notes


@dataclass(frozen=True)
class Results:
    """The content of a report; ``left_out`` and ``notes`` are sentences."""

    groups: list[Group]  # task by task, in the order of the table
    left_out: list[str]  # what was not read or not used, and why
    notes: list[str] = field(default_factory=list)  # what a reader of the figures must know
    commands: dict[str, set[Path]] = field(default_factory=dict)  # of sweeps, with the folders of their runs

    @property
    def tasks(self) -> list[list[Group]]:
        return [list(groups) for _, groups in itertools.groupby(self.groups, key=lambda group: group.task)]

    @property
    def shown_settings(self) -> list[str]:
        return list(dict.fromkeys(name for group in self.groups for name in group.shown_settings))


def collect(folders: Sequence[Path]) -> Results:
    """The results of all runs below the folders, which may hold any mix of sweeps and single runs."""
    found = scan(folders)
    published = [row for plan in found.plans for row in plan.published]
    groups = add_published(add_references(group_rows(found)), published)
    add_recovery(groups)
    for _, task in itertools.groupby(groups, key=lambda group: group.task):
        _name_groups(list(task))
    commands: dict[str, set[Path]] = {}
    for plan in found.plans:
        for command, folders_of_runs in plan.runs.items():
            commands.setdefault(command, set()).update(folders_of_runs)
    sentences = dict.fromkeys(notes(found, groups))
    return Results(groups, [*map(visible, found.left_out)], [*map(visible, sentences)], commands)


def _name_groups(groups: Sequence[Group]) -> None:
    """Set the settings and titles that distinguish the groups of a task.

    Groups with the same names and settings differ in data or defaults; their fingerprints distinguish them.
    """
    own = [group for group in groups if group.has_runs and not group.is_reference]
    names = dict.fromkeys(name for group in groups for name in group.settings if name not in NAME_SETTINGS)
    differing = [name for name in names if len({group.settings.get(name) for group in own}) > 1]
    for group in groups:
        group.shown_settings = {name: group.settings.get(name, "default") for name in differing}
    lines = [(group.names, tuple(group.shown_settings.items())) for group in groups]
    models = {group.model for group in groups if group.has_runs}
    for group, line in zip(groups, lines, strict=True):
        if lines.count(line) > 1:
            run = next(iter((*group.runs, *group.failed)), None)
            group.shown_settings["configuration"] = (run and (run.cell or run.fingerprint)) or "planned"
        group.title = ", ".join([*([group.model] if len(models) > 1 else []), group.recipe, *group.changed_settings])
