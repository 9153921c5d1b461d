"""The row of a run as result.json has it, checked value by value; what is wrong is left out of it and said."""

import re
import reprlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from winnow.config.labels import settings_of
from winnow.text import relative_path

WORDS = ("task", "model", "recipe", "teacher")
_LARGEST = 1e30  # no figure of a run is larger
STATED = ("sparsity", "parameters", "nonzero_parameters", "layers", "epochs", "train_seconds")
DEPLOYED = {"bytes": "bytes", "compressed_bytes": "compressed_bytes", "latency": "seconds"}  # by its name in a table
_OF_NUMBERS = {"metrics": (-_LARGEST, _LARGEST), "test_metrics": (-_LARGEST, _LARGEST), "sparsity_by_layer": (0.0, 1.0)}


def checked_row(row: dict[str, Any], path: Path, left_out: list[str]) -> Iterator[dict[str, Any]]:
    """The row with plain values where they are used, its ``folder``, and when it was ``written``; nothing of no row."""
    wrong = wrong_words(row)
    if row.get("status") not in ("ok", "failed"):
        wrong.append(f"status is {row.get('status')!r}")
    if wrong:
        left_out.append(f"{relative_path(path)} is no row of a run: {', '.join(wrong)}.")
        return
    dropped: list[str] = []
    for name in STATED:
        row[name] = number(row.get(name), name, dropped, 0, 1.0 if name == "sparsity" else _LARGEST)
    for name, bounds in _OF_NUMBERS.items():
        pairs = _mapping(row, name, dropped).items()
        numbers = {key: number(value, f"{name} {key}", dropped, *bounds) for key, value in pairs}
        row[name] = {key: value for key, value in numbers.items() if value is not None}
    row["deployment"] = _deployment(row, dropped)
    row["settings"] = settings_in(row, dropped)
    if row["status"] == "ok" and not row["metrics"]:
        dropped.append("there are no metrics")
    if dropped:
        left_out.append(f"{relative_path(path)}: {', '.join(dropped)}; the rest of the row is shown.")
    cell = row["cell"] if isinstance(row.get("cell"), str) else None
    yield row | {"cell": cell, "folder": path.parent, "written": path.stat().st_mtime}


def wrong_words(row: Mapping[str, Any]) -> list[str]:
    """What is wrong with the words and the seed that a row or a planned job must have."""
    wrong = [f"{name} is {row.get(name)!r}" for name in WORDS if not isinstance(row.get(name), str)]
    seed = row.get("seed")
    return wrong if isinstance(seed, int) and not isinstance(seed, bool) else [*wrong, f"seed is {seed!r}"]


def number(value: Any, name: str, dropped: list[str], least: float = -_LARGEST, most: float = _LARGEST) -> float | None:
    """A number within its bounds, or None; what is there and is none is added to ``dropped`` by its name."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        dropped.append(f"{name} is no number")
    elif least <= value <= most:  # false of NaN
        return value
    else:
        dropped.append(f"{name} is {reprlib.repr(value)}")
    return None


def _mapping(row: Mapping[str, Any], name: str, dropped: list[str]) -> dict[str, Any]:
    value = row.get(name)
    if isinstance(value, dict):
        return value
    if value is not None:
        dropped.append(f"{name} is no mapping")
    return {}


def _deployment(row: Mapping[str, Any], dropped: list[str]) -> dict[str, Any]:
    """As it is, sizes checked, with ``seconds``: the latency at batch 1 of the deployed graph in ONNX Runtime."""
    facts = _mapping(row, "deployment", dropped)
    sizes = {name: number(facts.get(name), name, dropped, 0) for name in ("bytes", "compressed_bytes")}
    try:
        timed = facts["latency"]["batches"]["1"][f"onnxruntime, {facts['precision']} graph"]["latency"]["median"]
    except (KeyError, TypeError):
        timed = None
    return facts | sizes | {"seconds": number(timed, "latency", dropped, 0)}


def settings_in(row: Mapping[str, Any], dropped: list[str]) -> dict[str, str]:
    """By full name; of an older row, which does not say them, those of its command."""
    if row.get("settings") is not None:
        return {name: str(value) for name, value in _mapping(row, "settings", dropped).items()}
    try:
        words = [word for word in shlex.split(str(row.get("command") or "")) if "=" in word]
    except ValueError:
        return {}
    said = settings_of(words)
    if row["recipe"] == "dense" and "recipe=dense" not in words:  # a teacher, trained by the command of its student
        said = {name: value for name, value in said.items() if not name.startswith(("recipe.", "modifier@recipe."))}
        said = {re.sub(r"^dense\.", "recipe.", name): value for name, value in said.items()}
    return said if row["teacher"] == "dense" else {n: value for n, value in said.items() if not n.startswith("dense.")}
