"""A report's data: a cell is one configuration with all its seeds, one line of the table."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
    model: str = ""


@dataclass(frozen=True)
class Cell:
    """One line of the table.

    Args:
        settings: those in which the lines of a task differ.
        title: recipe, and what else tells the lines of a task apart, but for the teacher.
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
    title: str
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

    @property
    def is_dense(self) -> bool:
        return (self.recipe, self.teacher) == ("dense", "none")

    @property
    def label(self) -> str:
        return self.title if self.teacher == "none" else f"{self.title}, {self.teacher}"


@dataclass(frozen=True)
class Results:
    """A report's data.

    Args:
        cells: grouped by task in the order in which they stand.
        left_out: sentences: what was not read or not used, and why.
        notes: sentences: what a reader of the figures must know.
        commands: of the sweeps, each with the folders of the runs that it has planned.
    """

    cells: list[Cell]
    left_out: list[str]
    notes: list[str] = field(default_factory=list)
    commands: dict[str, set[Path]] = field(default_factory=dict)


def short_names(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings by the last part of their names where that tells them apart, else by their full names."""
    last = [name.split(".")[-1] for name in settings]
    return {
        short if last.count(short) == 1 else name: settings[name] for name, short in zip(settings, last, strict=True)
    }


def comparable(cells: Sequence[Cell], figure: Callable[[Cell], Statistic | None]) -> list[Cell]:
    """Those whose mean may be called the best: no seed failed or is missing, and most cells have no more of them."""
    seeds = {id(cell): len(found.values) for cell in cells if (found := figure(cell))}
    whole = [cell for cell in cells if id(cell) in seeds and not (cell.failed or cell.missing)]
    usual = max(statistics.multimode(seeds[id(cell)] for cell in whole), default=0)
    return [cell for cell in whole if seeds[id(cell)] >= usual]


def smaller_is_better(metric: str) -> bool:
    return metric.removesuffix(" (test)").endswith(("error", "perplexity"))


def one_machine(cells: Iterable[Cell]) -> bool:
    """True if all latencies come from like processors and threads and are of inputs of one length."""
    facts = [
        row["deployment"] for cell in cells if cell.latency for row in cell.rows if row["deployment"].get("seconds")
    ]
    return len({str(_conditions(each["latency"])) for each in facts}) <= 1


def _conditions(latency: dict[str, Any]) -> tuple[Any, ...]:
    machine = latency.get("machine")
    known = machine if isinstance(machine, dict) else {}
    return known.get("cpu"), known.get("threads"), latency.get("length")
