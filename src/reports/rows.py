"""The result.json and sweep.json files below some folders: read, checked, and what cannot be used put in a sentence."""

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from src.config import CONF, settings_of
from src.reports.overview import JOBS
from src.reports.summary import shortened
from src.run_folder import RESULT

_WORDS = ("task", "model", "recipe", "teacher")
_LARGEST = 1e300
_NUMBERS = ("sparsity", "parameters", "nonzero_parameters", "layers", "epochs", "train_seconds")
_OF_NUMBERS = ("metrics", "test_metrics", "sparsity_by_layer")


@dataclass
class Found:
    """What lies below some folders.

    Args:
        rows: of result.json files, good and failed, each with its ``folder`` and ``written``, a time in seconds.
        jobs: of sweep.json files, each with the folder of its run.
        commands: of the sweeps, by their folders.
        published: rows of sweep.json files.
        left_out: sentences.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    commands: dict[Path, str] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def find(folders: Iterable[Path]) -> Found:
    """Everything below the folders, each file once, by whatever path it is reached; links are not followed."""
    found = Found()
    paths = {path: None for folder in folders for path in _files(folder.resolve(), found.left_out)}
    for path in paths:
        content = _read(path, found.left_out)
        if content is None:
            continue
        if path.name == RESULT:
            found.rows += _row(content, path, found.left_out)
        else:
            found.commands[path.parent] = str(content.get("command") or "")
            found.jobs += _entries(content, "jobs", _job, path, found.left_out)
            found.published += _entries(content, "published", _published, path, found.left_out)
    return found


def _files(folder: Path, left_out: list[str]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        left_out.append(f"{shortened(Path(error.filename))} cannot be read ({error.strerror}).")

    for here, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(".partial"))
        yield from (Path(here) / name for name in (JOBS, RESULT) if name in files)


def _read(path: Path, left_out: list[str]) -> dict[str, Any] | None:
    if path.is_symlink() or not path.is_file():
        left_out.append(f"{shortened(path)} is a link; name the folder that it points to.")
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        left_out.append(f"{shortened(path)} cannot be read ({error.strerror}).")
    except (ValueError, RecursionError) as error:
        left_out.append(f"{shortened(path)} is damaged or half-written ({error}).")
    else:
        if isinstance(content, dict):
            return content
        left_out.append(f"{shortened(path)} holds no row but a {type(content).__name__}.")
    return None


def _row(row: dict[str, Any], path: Path, left_out: list[str]) -> Iterator[dict[str, Any]]:
    """The row with plain values where they are used, or nothing."""
    wrong = _wrong_words(row)
    if row.get("status") not in ("ok", "failed"):
        wrong.append(f"status is {row.get('status')!r}")
    if wrong:
        left_out.append(f"{shortened(path)} is no row of a run: {', '.join(wrong)}.")
        return
    dropped: list[str] = []
    for name in _NUMBERS:
        row[name] = _number(row.get(name), name, dropped)
    for name in _OF_NUMBERS:
        numbers = {key: _number(value, f"{name} {key}", dropped) for key, value in _mapping(row, name, dropped).items()}
        row[name] = {key: value for key, value in numbers.items() if value is not None}
    row["deployment"] = _deployment(row, dropped)
    row["settings"] = _settings(row, dropped)
    if row["status"] == "ok" and not row["metrics"]:
        dropped.append("there are no metrics")
    if dropped:
        left_out.append(f"{shortened(path)}: {', '.join(dropped)}; the rest of the row is shown.")
    yield row | {"folder": path.parent, "written": path.stat().st_mtime}


def _wrong_words(row: Mapping[str, Any]) -> list[str]:
    wrong = [f"{name} is {row.get(name)!r}" for name in _WORDS if not isinstance(row.get(name), str)]
    seed = row.get("seed")
    return wrong if isinstance(seed, int) and not isinstance(seed, bool) else [*wrong, f"seed is {seed!r}"]


def _number(value: Any, name: str, dropped: list[str]) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        dropped.append(f"{name} is no number")
    elif abs(value) < _LARGEST:  # false of NaN
        return value
    else:
        dropped.append(f"{name} is not finite")
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
    sizes = {name: _number(facts.get(name), name, dropped) for name in ("bytes", "compressed_bytes")}
    try:
        timed = facts["latency"]["batches"]["1"][f"onnxruntime, {facts['precision']} graph"]["latency"]["median"]
    except (KeyError, TypeError):
        timed = None
    return facts | sizes | {"seconds": _number(timed, "latency", dropped)}


def _settings(row: Mapping[str, Any], dropped: list[str]) -> dict[str, str]:
    """Of an older row, which does not say them, those of its command."""
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


def _entries(
    content: Mapping[str, Any], name: str, check: Any, path: Path, left_out: list[str]
) -> Iterator[dict[str, Any]]:
    """The good entries of a list of sweep.json."""
    entries = content.get(name) or []
    if not isinstance(entries, list):
        left_out.append(f"{shortened(path)}: {name} is no list.")
        return
    for number, entry in enumerate(entries, 1):
        good = check(entry, path) if isinstance(entry, dict) else None
        if good is None:
            left_out.append(f"{shortened(path)}: entry {number} of {name} is damaged.")
        else:
            yield good


def _job(job: dict[str, Any], path: Path) -> dict[str, Any] | None:
    if _wrong_words(job) or not isinstance(job.get("folder"), str):
        return None
    return job | {"folder": path.parent / job["folder"], "settings": _settings({"settings": {}} | job, [])}


def _published(row: dict[str, Any], path: Path) -> dict[str, Any] | None:
    metrics = row.get("metrics")
    if not all(isinstance(row.get(name), str) for name in (*_WORDS, "source")) or not isinstance(metrics, dict):
        return None
    numbers = {name: _number(value, name, []) for name, value in metrics.items()}
    numbers = {name: value for name, value in numbers.items() if value is not None}
    return (
        row | {"model": _model(row["model"]), "metrics": numbers, "note": str(row.get("note") or "")}
        if numbers
        else None
    )


def _model(word: str) -> str:
    """The name of a model that conf/model has a word for."""
    path = CONF / "model" / f"{word}.yaml"
    return yaml.safe_load(path.read_text())["name"] if path.is_file() else word
