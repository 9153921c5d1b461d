"""The results of all runs below some folders."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from winnow.files.locks import is_running
from winnow.files.run_files import is_good
from winnow.reports.cells import Cell, Published, Results, Statistic, one_machine, short_names, smaller_is_better
from winnow.reports.find import Found, find
from winnow.reports.groups import NAMES, Group, group_rows, place_published
from winnow.reports.references import add_references, dense_of
from winnow.reports.rows import DEPLOYED, STATED
from winnow.text import relative_path


def collect(folders: Sequence[Path]) -> Results:
    """The results of all runs below the folders, of any mix of sweeps and single runs."""
    found = find(folders)
    groups = place_published(add_references(group_rows(found)), found.published)
    cells = []
    for _, alike in itertools.groupby(groups, key=lambda group: group.task):
        task = list(alike)
        cells += [_cell(group, settings, groups) for group, settings in zip(task, _differing(task), strict=True)]
    notes = list(dict.fromkeys([*_notes(found, groups), *_incomparable_latencies(cells)]))
    return Results(cells, found.left_out, notes, found.runs)


def _differing(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Of the groups of a task the settings in which they differ; where words and settings are alike, what is unlike
    lies in data or in defaults, and the fingerprint tells them apart.
    """
    names = dict.fromkeys(name for group in groups for name in group.settings if name not in NAMES)
    ours = [group for group in groups if group.is_ours and not group.reference]
    told = [name for name in names if len({group.settings.get(name) for group in ours}) > 1]
    settings = [{name: group.settings.get(name, "default") for name in told} for group in groups]
    lines = [(group.words, tuple(each.items())) for group, each in zip(groups, settings, strict=True)]
    return [
        each | ({"configuration": _configuration(group)} if lines.count(line) > 1 else {})
        for group, each, line in zip(groups, settings, lines, strict=True)
    ]


def _configuration(group: Group) -> str:
    row = next(iter((*group.rows, *group.failed)), {})
    return str(row.get("cell") or row.get("fingerprint") or "planned")


def _cell(group: Group, settings: dict[str, str], groups: Sequence[Group]) -> Cell:
    stated = {name: _statistic(row[name] for row in group.rows) for name in STATED}
    deployed = {name: _statistic(row["deployment"].get(key) for row in group.rows) for name, key in DEPLOYED.items()}
    return Cell(
        task=group.task,
        model=group.model,
        recipe=group.recipe,
        teacher=group.teacher,
        settings=settings,
        title=_title(group, settings, groups),
        rows=group.rows,
        failed=[{"seed": row["seed"], "error": _reason(row), "folder": row["folder"]} for row in group.failed],
        missing=group.missing,
        metrics=_metrics(group),
        **stated,
        **deployed,
        recovery=_recovery(group, dense_of(group, groups)),
        published=[Published(row["source"], row["metrics"], row["note"], row["model"]) for row in group.published],
        reference=group.reference,
    )


def _statistic(figures: Iterable[float | None]) -> Statistic | None:
    values = tuple(figure for figure in figures if figure is not None)
    return Statistic(values) if values else None


def _title(group: Group, settings: Mapping[str, str], groups: Sequence[Group]) -> str:
    models = {each.model for each in groups if each.task == group.task and each.is_ours}
    said = [f"{name}={Path(value).name}" for name, value in short_names(settings).items() if value != "default"]
    return ", ".join([*([group.model] if len(models) > 1 else []), group.recipe, *said])


def _reason(row: Mapping[str, Any]) -> str:
    return " ".join(str(row.get("error") or "it says no reason").split())


def _metrics(group: Group) -> dict[str, Statistic]:
    found: dict[str, Statistic] = {}
    for section, suffix in (("metrics", ""), ("test_metrics", " (test)")):
        names: Mapping[str, float] = max((row[section] for row in group.rows), key=len, default={})
        for name in dict.fromkeys((*names, *(name for row in group.rows for name in row[section]))):
            values = tuple(row[section][name] for row in group.rows if name in row[section])
            found[name + suffix] = Statistic(values)
    return found


def _recovery(group: Group, dense: Group | None) -> Statistic | None:
    if dense is None or not dense.main_metric:
        return None
    name = dense.main_metric
    references = {row["seed"]: row["metrics"][name] for row in dense.rows if name in row["metrics"]}
    ours = [row for row in group.rows if name in row["metrics"] and row["seed"] in references]
    pairs = [(row["metrics"][name], before) for row in ours if (before := references[row["seed"]]) > 0]
    if smaller_is_better(name):
        pairs = [(before, after) for after, before in pairs]
    return _statistic(part / whole for part, whole in pairs if whole > 0)


def _notes(found: Found, groups: Sequence[Group]) -> Iterator[str]:
    """What a reader of the table must know."""
    yield from _of_sweeps(found)
    for row in found.rows:
        if row["status"] == "ok" and row.get("error"):
            yield f"{relative_path(row['folder'])} has a good model, and after it: {_reason(row)}"
    for task in {row["task"]: None for row in found.published if row["task"] not in {group.task for group in groups}}:
        yield f"Published figures of {task} are not shown, as no run here is of it."
    yield from _common_settings(groups)
    for group in groups:
        yield from _of_others(group)


def _of_sweeps(found: Found) -> Iterator[str]:
    """What is left to run, and what has become of it."""
    done = {row["folder"] for row in found.rows if is_good(row)}
    begun = {row["folder"] for row in found.rows}
    for sweep, command in found.commands.items():
        folders = [job["folder"] for job in found.jobs if job["folder"].parent == sweep]
        left = [folder for folder in folders if folder not in done]
        if left:
            again = f"; to run these: {command}" if command else "."
            yield f"{len(left)} of {len(folders)} runs of {relative_path(sweep)} lack a good row{again}"
        for each in left:
            if is_running(each, patience=0):
                yield f"{relative_path(each)} is running."
            elif each not in begun and os.path.isdir(each):  # false of a name that no folder can have
                yield f"{relative_path(each)} has begun and not ended; nothing runs in it here."


def _of_others(group: Group) -> Iterator[str]:
    """Where its dense run lies, and how its published figures are unlike ours."""
    if group.reference:
        where = ", ".join(str(relative_path(row["folder"])) for row in group.rows)
        yield f"The dense run of {group.model} on {group.task} lies elsewhere: {where}."
    data = {name: value for name, value in group.settings.items() if name.startswith("task.")}
    for row in group.published:
        if group.rows and (group.model != row["model"] or data):
            ours = ", ".join([group.model, *(f"{name}={value}" for name, value in data.items())])
            yield f"Published figures are of {row['model']} on all of {row['task']}, ours of {ours}."


def _common_settings(groups: Sequence[Group]) -> Iterator[str]:
    """What all command lines of a task set alike; a reader would else take the lines for runs by the defaults."""
    tasks: dict[str, list[str]] = {}
    for task, alike in itertools.groupby(groups, key=lambda group: group.task):
        ours = [group.settings for group in alike if group.is_ours and not group.reference]
        common = {name: value for name, value in next(iter(ours), {}).items() if name not in NAMES}
        said = [f"{name}={Path(v).name}" for name, v in common.items() if all(each.get(name) == v for each in ours)]
        tasks.setdefault(", ".join(said), []).append(task)
    yield from (f"All lines of {', '.join(names)}: {said}." for said, names in tasks.items() if said)


def _incomparable_latencies(cells: Iterable[Cell]) -> Iterator[str]:
    for task, alike in itertools.groupby(cells, key=lambda cell: cell.task):
        if not one_machine(list(alike)):
            yield f"Latencies on {task} are of unlike processors, threads or lengths, so they cannot be compared."
