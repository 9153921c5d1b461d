"""All runs below some folders as one table: a cell is one configuration with all its seeds."""

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.config import model_label
from src.reports.groups import Group, add_references, dense_of, group_rows, place_published
from src.reports.rows import find
from src.reports.summary import shortened


@dataclass(frozen=True)
class Statistic:
    """A figure of each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation; None for one value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Published:
    """Figures of others for the same task, in the units of our metrics."""

    source: str
    metrics: dict[str, float]
    note: str


@dataclass(frozen=True)
class Cell:
    """One line of the table.

    Args:
        settings: those in which the lines of a task differ.
        label: what tells it apart in pictures.
        rows: good ones of result.json, each with its ``folder``, a Path, ordered by seed.
        failed: seed, error and folder of seeds without a good row.
        missing: seeds that a sweep has planned and that have no row.
        metrics: in the task's order, the first is the main one; those of a test file are called "f1 (test)".
        sparsity: fraction of zeros in the encoder.
        bytes: of the deployed graph, as compressed_bytes.
        latency: of one example, in seconds, by ONNX Runtime.
        recovery: the main metric over that of the dense run of the same task, model and seed, a fraction; where
            smaller is better the other way round, so that below 1 is worse.
        reference: a dense run that lies outside the folders of the report.
    """

    task: str
    model: str
    recipe: str
    teacher: str
    settings: dict[str, str]
    label: str
    rows: list[dict[str, Any]]
    failed: list[dict[str, Any]]
    missing: list[int]
    metrics: dict[str, Statistic]
    sparsity: Statistic | None
    parameters: Statistic | None
    nonzero_parameters: Statistic | None
    layers: Statistic | None
    epochs: Statistic | None
    train_seconds: Statistic | None
    bytes: Statistic | None
    compressed_bytes: Statistic | None
    latency: Statistic | None
    recovery: Statistic | None
    published: list[Published]
    reference: bool = False


@dataclass(frozen=True)
class Results:
    """A report's data.

    Args:
        cells: grouped by task in the order in which they stand.
        left_out: sentences: what was not read or not used, and why.
        notes: sentences: what a reader of the figures must know.
    """

    cells: list[Cell]
    left_out: list[str]
    notes: list[str] = field(default_factory=list)


def collect(folders: Sequence[Path]) -> Results:
    """The results of all runs below the folders, of any mix of sweeps and single runs."""
    found = find(folders)
    groups = place_published(add_references(group_rows(found)), found.published)
    cells = []
    for _, alike in itertools.groupby(groups, key=lambda group: group.task):
        task = list(alike)
        cells += [_cell(group, settings, groups) for group, settings in zip(task, _differing(task), strict=True)]
    return Results(cells, found.left_out, notes(groups))


def smaller_is_better(metric: str) -> bool:
    return metric.removesuffix(" (test)").endswith(("error", "perplexity"))


def _differing(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Of the groups of a task the settings in which they differ; where words and settings are alike, what is unlike
    lies in data or in defaults, and the fingerprint tells them apart.
    """
    names = dict.fromkeys(name for group in groups for name in group.settings)
    ours = [group for group in groups if group.rows or group.failed or group.missing]
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
    def statistic(figure: Callable[[Mapping[str, Any]], float | None]) -> Statistic | None:
        values = tuple(value for row in group.rows if (value := figure(row)) is not None)
        return Statistic(values) if values else None

    def stated(name: str) -> Statistic | None:
        return statistic(lambda row: row[name])

    return Cell(
        task=group.task,
        model=group.model,
        recipe=group.recipe,
        teacher=group.teacher,
        settings=settings,
        label=_label(group, settings, groups),
        rows=group.rows,
        failed=[{"seed": row["seed"], "error": _reason(row), "folder": row["folder"]} for row in group.failed],
        missing=group.missing,
        metrics=_metrics(group),
        sparsity=stated("sparsity"),
        parameters=stated("parameters"),
        nonzero_parameters=stated("nonzero_parameters"),
        layers=stated("layers"),
        epochs=stated("epochs"),
        train_seconds=stated("train_seconds"),
        bytes=statistic(lambda row: row["deployment"].get("bytes")),
        compressed_bytes=statistic(lambda row: row["deployment"].get("compressed_bytes")),
        latency=statistic(lambda row: row["deployment"].get("seconds")),
        recovery=_recovery(group, dense_of(group, groups)),
        published=[Published(row["source"], row["metrics"], row["note"]) for row in group.published],
        reference=group.reference,
    )


def _label(group: Group, settings: Mapping[str, str], groups: Sequence[Group]) -> str:
    models = {each.model for each in groups if each.task == group.task}
    words = [*([group.model] if len(models) > 1 else []), group.recipe]
    words += [group.teacher] if group.teacher != "none" else []
    short = [name.split(".")[-1] for name in settings]
    for name, value in settings.items():
        last = name.split(".")[-1]
        told = last if short.count(last) == 1 else ".".join(name.split(".")[-2:])
        words += [f"{told}={Path(value).name}"] if value != "default" else []
    return ", ".join(words)


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
    references = {row["seed"]: row["metrics"].get(name, 0.0) for row in dense.rows}
    pairs = [(row["metrics"].get(name), references.get(row["seed"], 0.0)) for row in group.rows]
    shares = [(after, before) for after, before in pairs if after is not None and before > 0]
    if smaller_is_better(name):
        shares = [(before, after) for after, before in shares if after > 0]
    return Statistic(tuple(after / before for after, before in shares)) if shares else None


def notes(groups: Iterable[Group]) -> list[str]:
    """What a reader of the table must know: where figures of others or of other folders stand in it."""
    found: dict[str, None] = {}
    for group in groups:
        if group.reference:
            folders = ", ".join(str(shortened(row["folder"])) for row in group.rows)
            found[f"The dense run of {group.model} on {group.task} is not of these folders: {folders}."] = None
        for row in group.published:
            if group.rows and _scaled(group, row):
                found[f"Published figures are of {row['model']} on all of {row['task']}; ours are not."] = None
    return list(found)


def _scaled(group: Group, published: Mapping[str, Any]) -> bool:
    return group.model != model_label(published["model"]) or any(name.startswith("task.") for name in group.settings)
