"""What a run logged while it trained: its metrics, its loss, the events of its recipe."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

METRICS = Path("logs") / "metrics.csv"
EVENTS = "events.json"
_LARGEST = 1e30  # more is damaged; of NaN no such comparison is true

# How an event of events.json is called in a picture: the first of its kind, and the last where it comes again.
_WORDS = {
    "prunes": ("pruning", "masks frozen"),
    "quantises": ("8 bit", ""),
    "freezes the grids": ("grids frozen", ""),
    "learns from the teacher": ("teacher", ""),
    "learns from the labels alone": ("labels alone", ""),
    "keeps the zeros there are": ("zeros kept", ""),
}


@dataclass(frozen=True)
class History:
    """Points are (epoch, value).

    Args:
        metric: the main metric on validation data.
        loss: of the training.
        events: epoch and word of what happens to the model.
    """

    metric: list[tuple[float, float]]
    loss: list[tuple[float, float]]
    events: list[tuple[float, str]]


def read_history(folder: Path, metric: str, planned_epochs: float | None) -> History | None:
    """The history of a run; None where its metrics.csv is not there, cut short or of something else.

    Args:
        row: of result.json, with its ``folder``.
        metric: name of the main one.
    """
    try:
        rows = read_rows(folder / METRICS)
        steps = max(int(each["step"]) for each in rows) + 1
        begun = max(int(each["epoch"]) for each in rows if "epoch" in each) + 1
        epochs = min(planned_epochs or begun, begun)  # fewer than the run's of a file cut short
        scores, losses = (_points(rows, name, epochs / steps) for name in (f"val/{metric}", "train/loss"))
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, csv.Error):
        return None
    return History(scores, losses, _read_events(folder / EVENTS)) if scores and epochs > 0 else None


def _points(rows: Iterable[Mapping[str, str]], name: str, epochs: float) -> list[tuple[float, float]]:
    """Epoch and value of the rows that have one, and one that can be drawn; ``epochs`` are those of a step."""
    points = (((int(row["step"]) + 1) * epochs, float(row[name])) for row in rows if name in row)
    return [(epoch, value) for epoch, value in points if epoch >= 0 and abs(value) < _LARGEST]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The values of each row that was written to its end."""
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return [{name: value for name, value in row.items() if value} for row in csv.DictReader(whole)]


def _read_events(path: Path) -> list[tuple[float, str]]:
    """Nothing where the file is not there or damaged: the curves are worth showing all the same."""
    try:
        rows = [(float(row["epoch"]), str(row["modifier"]), str(row["change"])) for row in json.loads(path.read_text())]
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
        return []
    return sorted(set(_named(row for row in rows if abs(row[0]) < _LARGEST)))


def _named(rows: Iterable[tuple[float, str, str]]) -> list[tuple[float, str]]:
    times: dict[tuple[str, str], list[float]] = {}
    for epoch, modifier, change in rows:
        kind = next((kind for kind in _WORDS if change.startswith(kind)), None)
        if kind:
            times.setdefault((modifier, kind), []).append(epoch)
    named = []
    for (_, kind), epochs in times.items():
        first, last = _WORDS[kind]
        named.append((min(epochs), first))
        if last and max(epochs) > min(epochs):
            named.append((max(epochs), last))
    return named
