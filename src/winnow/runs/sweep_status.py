"""Progress of a sweep, read from the files of its jobs, so it works with every launcher."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.command_line import SWEEP_PLAN
from winnow.config.labels import model_label
from winnow.files.json_text import read_json
from winnow.files.locks import is_running
from winnow.files.run_files import RESULT, is_good
from winnow.text import duration, four_digits

_WORDS = ("done", "failed", "running", "waiting")


@dataclass(frozen=True)
class JobState:
    """A planned job and its state.

    Args:
        job: its entry in sweep.json.
        title: such as 'prune80, teacher dense, seed 2', with every other setting in which jobs differ.
        word: done, failed (since the sweep was started), running or waiting.
        row: its result.json; empty if there is none.
        ended: when it ended, in seconds since 1970; 0 before that.
    """

    job: Mapping[str, Any]
    title: str
    word: str
    row: Mapping[str, Any]
    ended: float = 0.0


def planned(folder: Path) -> list[dict[str, Any]]:
    """The jobs in sweep.json; damaged entries are left out, and a damaged file has none."""
    try:
        jobs = read_json(folder / SWEEP_PLAN)["jobs"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [job for job in jobs if _is_entry(job)] if isinstance(jobs, list) else []


def _is_entry(job: Any) -> bool:
    words = ("folder", "task", "model", "recipe", "teacher")
    return (
        isinstance(job, dict)
        and all(isinstance(job.get(word), str) for word in words)
        and isinstance(job.get("settings"), dict)
        and "seed" in job
    )


def job_states(folder: Path, jobs: Sequence[Mapping[str, Any]] | None = None) -> list[JobState]:
    """The state of every planned job of a sweep, in the order of the plan.

    Args:
        folder: of the sweep.
        jobs: of one command, as `planned` returns them; None for those of the command that was started last.
    """
    jobs, started = planned(folder) if jobs is None else jobs, _started(folder)
    return [_state(job, _title(job, jobs), folder / job["folder"], started) for job in jobs]


def _title(job: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> str:
    words = [model_label(job[word]) for word in ("task", "model") if any(other[word] != job[word] for other in jobs)]
    settings = [
        f"{name.removeprefix('recipe.')}={value}"
        for name, value in job["settings"].items()
        if any(other["settings"].get(name) != value for other in jobs)
    ]
    return ", ".join([*words, str(job["recipe"]), f"teacher {job['teacher']}", f"seed {job['seed']}", *settings])


def _state(job: Mapping[str, Any], title: str, run: Path, started: float) -> JobState:
    try:
        row, ended = read_json(run / RESULT), (run / RESULT).stat().st_mtime
    except (OSError, ValueError):
        row, ended = {}, 0.0
    row = row if isinstance(row, dict) else {}
    if is_good(row):
        return JobState(job, title, "done", row, ended)
    if is_running(run, patience=0):
        return JobState(job, title, "running", {})
    failed = row and ended >= started
    return JobState(job, title, "failed", row, ended) if failed else JobState(job, title, "waiting", {})


def progress(folder: Path, jobs: Sequence[Mapping[str, Any]] | None = None) -> str:
    """One line on the same jobs as `job_states`, such as '5 of 24 done, 1 failed, 2 running, about 41 min left'."""
    states = job_states(folder, jobs)
    counts = {word: sum(state.word == word for state in states) for word in _WORDS}
    parts = [f"{counts['done']} of {len(states)} done"]
    parts += [f"{counts[word]} {word}" for word in ("failed", "running") if counts[word]]
    if left := seconds_left(states, _started(folder), time.time()):
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def seconds_left(states: Sequence[JobState], started: float, now: float) -> float | None:
    """Estimated seconds until all jobs have ended, by epochs done since the start; None before the first has ended."""
    done = sum(_epochs(state) for state in states if state.word == "done" and state.ended >= started)
    left = sum(_epochs(state) for state in states if state.word in ("running", "waiting"))
    return (now - started) * left / done if done else None


def outcome(row: Mapping[str, Any]) -> str:
    """The main metric of a successful job, the error of a failed one."""
    if row.get("error"):
        return str(row["error"])
    return ", ".join(f"{name} {four_digits(value)}" for name, value in list(row.get("metrics", {}).items())[:1])


def _epochs(state: JobState) -> float:
    epochs = state.job.get("num_epochs")
    return epochs if isinstance(epochs, int | float) and 0 < epochs < 1e9 else 1.0


def _started(folder: Path) -> float:
    """When the sweep was last started, in seconds since 1970: each start writes its plan."""
    path = folder / SWEEP_PLAN
    return path.stat().st_mtime if path.is_file() else 0.0
