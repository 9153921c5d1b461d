"""A job of a sweep: its state, its row, and errors that end only this job."""

import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from winnow.command_line import command_line
from winnow.config.labels import settings_of
from winnow.errors import UserError, describe, wants_traces
from winnow.files.json_text import read_json
from winnow.files.locks import BusyError
from winnow.files.run_files import RESULT, ended_well, write_result
from winnow.runs.sweep_status import JobState, job_states, outcome, progress


@contextmanager
def recorded_job(folder: Path, composed: DictConfig, overrides: Iterable[str]) -> Iterator[None]:
    """Run a job of a sweep so that an error ends this job only and is recorded in its result.json.

    Args:
        folder: of the job's run.
        composed: its configuration, not yet checked.
        overrides: of its command line.
    """
    state = state_of(folder)
    if state and state.word != "done":
        print(f"job {state.title}: {progress(folder.parent)}", flush=True)
    try:
        yield
    except BusyError as error:
        print(f"note: {error}")
        return
    except Exception as error:
        if wants_traces():
            traceback.print_exc()
        _record(folder, describe(error), planned_row(composed, overrides))
    else:
        _record(folder, None, {})
    if state and (now := state_of(folder)):
        print(f"job {now.title}: {now.word}, {outcome(now.row)}", flush=True)


def state_of(folder: Path) -> JobState | None:
    """The state of the job in a folder; None if it is not in the plan of a sweep."""
    return next((state for state in job_states(folder.parent) if state.job["folder"] == folder.name), None)


def _record(folder: Path, error: str | None, planned: Mapping[str, Any]) -> None:
    """Record an error unless the run did; a successful row is kept and gets the error of its export."""
    try:
        row = read_json(folder / RESULT)
    except (OSError, ValueError):
        row = {"error": ""}
    if not isinstance(row, dict) or row.get("error") != error:
        failed = {"status": "failed", "error": error, **planned, "metrics": {}}
        write_result(folder, row | {"error": error} if ended_well(folder) else failed)


def check_is_no_sweep(hydra_config: Any) -> None:
    """Refuse a single run of an experiment unless the command line chooses each option that its sweep varies."""
    chosen = {override.partition("=")[0] for override in hydra_config.overrides.task}
    missing = [option for option in hydra_config.sweeper.params or {} if option not in chosen]
    if "experiment" in chosen and missing:
        raise UserError(
            f"an experiment is a sweep over {', '.join(missing)}: add -m after '{command_line('train')}', or choose "
            "one of each."
        )


def planned_row(composed: DictConfig, overrides: Iterable[str]) -> dict[str, Any]:
    """The columns of a row that are known before its job runs, even for a job that cannot run."""
    paths = {"task": "task.name", "model": "model.name", "recipe": "recipe.name", "seed": "seed"}
    teacher = _value(composed, "teacher.kind")
    return {
        **{column: _value(composed, path) for column, path in paths.items()},
        "teacher": _value(composed, "teacher.name") if teacher == "checkpoint" else teacher,
        "num_epochs": _value(composed, "recipe.num_epochs"),
        "settings": settings_of(overrides),
    }


def _value(composed: DictConfig, path: str) -> Any:
    """A plain value; None if the configuration is wrong at this place."""
    try:
        value = OmegaConf.select(composed, path)
    except OmegaConfBaseException:
        return None
    return None if OmegaConf.is_config(value) else value
