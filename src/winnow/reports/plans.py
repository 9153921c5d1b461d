"""What sweep.json has: the jobs that a sweep has planned, and the published figures beside which they stand."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from winnow.config.labels import model_label
from winnow.files.conf_folder import CONF
from winnow.reports.rows import WORDS, number, settings_in, wrong_words
from winnow.text import relative_path


def planned_jobs(plan: Mapping[str, Any], path: Path, left_out: list[str]) -> Iterator[dict[str, Any]]:
    """The jobs, each with the folder of its run."""
    for place, job in _entries(plan, "jobs", path, left_out):
        if wrong_words(job) or not isinstance(job.get("folder"), str):
            left_out.append(f"{relative_path(path)}: entry {place} of jobs is damaged.")
        else:
            said = {name: job[name] for name in (*WORDS, "seed")}
            yield said | {"folder": path.parent / job["folder"], "settings": settings_in({"settings": {}} | job, [])}


def runs_by_command(plan: Mapping[str, Any], path: Path, jobs: Iterable[Mapping[str, Any]]) -> dict[str, set[Path]]:
    """The folders of the runs that each command of the sweep has planned, those of the last one being the jobs."""
    earlier = plan.get("earlier")
    named = earlier.items() if isinstance(earlier, dict) else ()
    runs = {command: {path.parent / str(name) for name in names} for command, names in named if isinstance(names, list)}
    return runs | {str(plan.get("command") or ""): {job["folder"] for job in jobs}}


def published_rows(plan: Mapping[str, Any], path: Path, left_out: list[str]) -> Iterator[dict[str, Any]]:
    """The published figures, each model called as ours are."""
    for place, row in _entries(plan, "published", path, left_out):
        metrics = row.get("metrics")
        pairs = metrics.items() if isinstance(metrics, dict) else ()
        numbers = {name: value for name, value in pairs if number(value, name, []) is not None}
        if not numbers or not all(isinstance(row.get(name), str) for name in (*WORDS, "source")):
            left_out.append(f"{relative_path(path)}: entry {place} of published is damaged.")
        else:
            yield row | {"model": _called(row["model"]), "metrics": numbers, "note": str(row.get("note") or "")}


def _entries(
    plan: Mapping[str, Any], name: str, path: Path, left_out: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """A list of the plan with the places of its entries, from 1."""
    entries = plan.get(name) or []
    if not isinstance(entries, list):
        left_out.append(f"{relative_path(path)}: {name} is no list.")
        return
    yield from ((place, entry if isinstance(entry, dict) else {}) for place, entry in enumerate(entries, 1))


def _called(word: str) -> str:
    """What a model is called that conf/model has a word for."""
    known = {path.stem: path for path in (CONF / "model").glob("*.yaml")}
    return model_label(yaml.safe_load(known[word].read_text())["name"] if word in known else word)
