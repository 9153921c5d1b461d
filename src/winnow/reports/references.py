"""The dense group to which another is compared, from the report or from elsewhere in the same outputs."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from winnow.reports.folder_scan import scan
from winnow.reports.groups import NAME_SETTINGS, Group, by_task, group_rows, main_metric, smaller_is_better


def add_references(groups: Sequence[Group]) -> list[Group]:
    """The groups, and missing dense groups from elsewhere in the same outputs with the seeds that are needed."""
    added: list[Group] = []
    for task in dict.fromkeys(group.task for group in groups):
        lacking = [g for g in groups if g.task == task and g.runs and dense_group(g, groups) is None]
        elsewhere = group_rows(scan(_dense_folders(lacking)))
        for group in lacking:
            dense = dense_group(group, elsewhere)
            if dense is not None and not dense.is_reference:
                seeds = {run.seed for each in lacking if each.model == dense.model for run in each.runs}
                dense.runs = [run for run in dense.runs if run.seed in seeds]
                dense.failed, dense.is_reference = [], True
                added.append(dense)
    return by_task([*groups, *added])


def add_recovery(groups: Sequence[Group]) -> None:
    """Give each run its `Row.recovery`."""
    for group, dense in [(group, dense_group(group, groups)) for group in groups]:
        metric = main_metric([dense] if dense else [])
        scores = {run.seed: run.metrics.get(metric) for run in dense.runs} if dense else {}
        for i, run in enumerate(group.runs):
            if (part := recovery(metric, run.metrics.get(metric), scores.get(run.seed))) is not None:
                group.runs[i] = run.model_copy(update={"recovery": part})


def recovery(metric: str, value: float | None, dense: float | None) -> float | None:
    """A metric over that of the dense run, or the inverse where smaller is better; below 1 is worse."""
    part, whole = (dense, value) if smaller_is_better(metric) else (value, dense)
    return part / whole if part is not None and whole is not None and dense and whole > 0 else None


def dense_group(group: Group, groups: Iterable[Group]) -> Group | None:
    """The dense group with the same task, model and data that shares most seeds, then most settings, or None."""
    seeds = {run.seed for run in group.runs}

    def data(group: Group) -> dict[str, str]:
        settings = group.settings.items()
        return {n: value for n, value in settings if n.startswith(("task.", "model.")) and n not in NAME_SETTINGS}

    def distance(dense: Group) -> tuple[int, int]:
        shared = seeds & {run.seed for run in dense.runs}
        return -len(shared), len(set(dense.settings.items()) ^ set(group.settings.items()))

    dense = [g for g in groups if g.is_dense and g.names[:2] == group.names[:2] and data(g) == data(group)]
    return min((g for g in dense if distance(g)[0] < 0), key=distance, default=None)


def _dense_folders(groups: Sequence[Group]) -> list[Path]:
    """Folders of dense runs of the same task among the other runs and sweeps of the same outputs."""
    folders = [run.folder for group in groups for run in group.runs]
    tasks = {glob.escape(run.task_name) for group in groups for run in group.runs}
    outputs = {above.parent for folder in folders for above in folder.parents if above.name in ("runs", "sweeps")}
    patterns = [path for t in tasks for path in (f"runs/{t}/dense-none-*", f"sweeps/*/{t}-dense-none-*")]
    return sorted({out / path for out in outputs for pattern in patterns for path in glob.glob(pattern, root_dir=out)})
