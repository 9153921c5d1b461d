"""Which dense run is whose reference, among the runs of a report and elsewhere in the same outputs."""

import glob
from collections.abc import Iterable
from pathlib import Path

from winnow.reports.find import find
from winnow.reports.groups import NAMES, Group, group_rows, ordered


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
    return ordered([*groups, *added])


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
    """The settings that concern the task or the model, whose name is among the words."""
    settings = group.settings.items()
    return {name: value for name, value in settings if name.startswith(("task.", "model.")) and name not in NAMES}
