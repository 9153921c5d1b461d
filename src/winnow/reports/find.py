"""All result.json and sweep.json files below some folders, and sentences on those that cannot be read."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.command_line import SWEEP_PLAN
from winnow.files.run_files import RESULT
from winnow.reports.plans import planned_jobs, published_rows, runs_by_command
from winnow.reports.rows import checked_row
from winnow.text import relative_path


@dataclass
class Found:
    """What lies below some folders.

    Args:
        rows: of result.json files, good and failed, each with its ``folder`` and ``written``, a time in seconds.
        jobs: of sweep.json files, each with the folder of its run.
        commands: the last of each sweep, by its folder.
        runs: the folders of the runs that a command of a sweep has planned, by the command, earlier ones first.
        published: rows of sweep.json files.
        left_out: sentences.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    commands: dict[Path, str] = field(default_factory=dict)
    runs: dict[str, set[Path]] = field(default_factory=dict)
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
            found.rows += checked_row(content, path, found.left_out)
        else:
            found.commands[path.parent] = str(content.get("command") or "")
            jobs = list(planned_jobs(content, path, found.left_out))
            found.jobs += jobs
            for command, runs in runs_by_command(content, path, jobs).items():
                found.runs.setdefault(command, set()).update(runs)
            found.published += published_rows(content, path, found.left_out)
    return found


def _files(folder: Path, left_out: list[str]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        left_out.append(f"{relative_path(Path(error.filename))} cannot be read ({error.strerror}).")

    for here, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(".partial"))
        yield from (Path(here) / name for name in (SWEEP_PLAN, RESULT) if name in files)


def _read(path: Path, left_out: list[str]) -> dict[str, Any] | None:
    if path.is_symlink() or not path.is_file():
        left_out.append(f"{relative_path(path)} is a link; name the folder that it points to.")
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(content, ensure_ascii=False).encode()  # half a character could not be written into a report
    except OSError as error:
        left_out.append(f"{relative_path(path)} cannot be read ({error.strerror}).")
    except (ValueError, RecursionError) as error:
        left_out.append(f"{relative_path(path)} is damaged or half-written ({error}).")
    else:
        if isinstance(content, dict):
            return content
        left_out.append(f"{relative_path(path)} holds no row but a {type(content).__name__}.")
    return None
