"""All result.json and sweep.json files below some folders, and sentences about those that cannot be read."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from winnow.command_line import SWEEP_PLAN
from winnow.errors import visible
from winnow.files.conf_folder import CONF
from winnow.files.json_text import read_json
from winnow.files.run_files import RESULT
from winnow.reports.result_rows import Row, read_row
from winnow.text import relative_path


@dataclass(frozen=True)
class SweepPlan:
    """A sweep.json; ``runs`` are the folders that each of its commands planned, earlier commands first."""

    folder: Path
    command: str
    jobs: list[Row]
    published: list[Row]
    runs: dict[str, set[Path]]


@dataclass
class Scan:
    """What was found below some folders; ``left_out`` are sentences about files and values that are not used."""

    rows: list[Row] = field(default_factory=list)
    plans: list[SweepPlan] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def scan(folders: Iterable[Path]) -> Scan:
    """Read each file once, even if several of the folders contain it. Links are not followed."""
    found = Scan()
    paths = {path: None for folder in folders for path in _files(folder.resolve(), found.left_out)}
    for path in paths:
        if (content := _read_json(path, found.left_out)) is None:
            continue
        if path.name == SWEEP_PLAN:
            found.plans.append(_read_plan(content, path, found.left_out))
        else:
            content |= {"folder": path.parent, "written": path.stat().st_mtime}
            if row := read_row(content, relative_path(path), found.left_out):
                found.rows.append(row)
    return found


def _files(folder: Path, left_out: list[str]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        left_out.append(f"{relative_path(Path(error.filename))} cannot be read ({error.strerror}).")

    for here, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(".partial"))
        yield from (Path(here) / name for name in (SWEEP_PLAN, RESULT) if name in files)


def _read_json(path: Path, left_out: list[str]) -> dict[str, Any] | None:
    try:
        if path.is_symlink() or not path.is_file():
            problem = "is a link, which is not followed; name the folder that it points to"
        elif isinstance(content := read_json(path), dict):
            json.dumps(content, ensure_ascii=False).encode()  # an unpaired surrogate cannot be written into a report
            return content
        else:
            problem = f"contains a {type(content).__name__} instead of a mapping"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except (ValueError, RecursionError) as error:
        problem = f"is damaged or incomplete ({error})"
    left_out.append(f"{relative_path(path)} {problem}.")
    return None


def _read_plan(content: Mapping[str, Any], path: Path, left_out: list[str]) -> SweepPlan:
    """The valid entries of a sweep.json; each damaged one is reported in ``left_out``."""
    folder, command = path.parent, visible(str(content.get("command") or ""))
    options = {option.stem: option for option in (CONF / "model").glob("*.yaml")}
    jobs, published = [], []
    for origin, job in _entries(content, "jobs", path, left_out):
        run = folder / job["folder"] if isinstance(job.get("folder"), str) else None
        jobs.append(read_row({"settings": {}, **job, "status": "missing", "folder": run}, origin, left_out))
    for origin, entry in _entries(content, "published", path, left_out):
        known = {"status": "published", "seed": 0, "folder": Path(), "settings": {}}
        if (model := entry.get("model")) in options:
            known["model"] = yaml.safe_load(options[model].read_text())["name"]
        if entry.get("note"):
            known["source"] = f"{entry.get('source')}, {entry['note']}"
        published.append(read_row(entry | known, origin, left_out))
    earlier = content.get("earlier")
    runs = {
        visible(each): {folder / str(run) for run in planned}
        for each, planned in (earlier.items() if isinstance(earlier, dict) else ())
        if isinstance(planned, list)
    }
    rows = [job for job in jobs if job]
    runs[command] = {job.folder for job in rows}
    return SweepPlan(folder, command, rows, [row for row in published if row and row.metrics], runs)


def _entries(
    plan: Mapping[str, Any], name: str, path: Path, left_out: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries of one list of a plan, each with its origin for messages; positions are counted from 1."""
    entries = plan.get(name) or []
    if not isinstance(entries, list):
        left_out.append(f"{relative_path(path)}: {name} is not a list.")
        return
    for position, entry in enumerate(entries, 1):
        yield f"{relative_path(path)}, entry {position} of {name}", entry if isinstance(entry, dict) else {}
