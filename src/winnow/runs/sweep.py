"""A sweep: the jobs that a command asks for, each in a folder that the same command finds again."""

import json
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from winnow.config.resolve import settings_of
from winnow.errors import StoppedError, UserError, describe, wants_traces
from winnow.files.locks import BusyError
from winnow.files.run_files import RESULT, ended_well, write_result
from winnow.runs.sweep_status import JobState, job_states, outcome, progress


@contextmanager
def recorded_job(folder: Path, composed: DictConfig, typed: Iterable[str]) -> Iterator[None]:
    """A job of a sweep: what goes wrong in it stops it alone, and its row says why.

    Args:
        folder: of its run.
        composed: its configuration, which may be wrong.
        typed: the overrides of its command line.
    """
    state = state_of(folder)
    if state and state.word != "done":
        print(f"job {state.title}: {progress(folder.parent)}", flush=True)
    try:
        yield
    except (StoppedError, BrokenPipeError):
        raise
    except BusyError as error:
        print(f"note: {error}")
        return
    except Exception as error:
        if wants_traces():
            traceback.print_exc()
        _record(folder, describe(error), planned_words(composed, typed))
    else:
        _record(folder, None, {})
    if state and (now := state_of(folder)):
        print(f"job {now.title}: {now.word}, {outcome(now.row)}", flush=True)


def state_of(folder: Path) -> JobState | None:
    """The state of the job of a folder, if it is planned."""
    return next((state for state in job_states(folder.parent) if state.job["folder"] == folder.name), None)


def _record(folder: Path, error: str | None, words: Mapping[str, Any]) -> None:
    """A good row stays, with what failed after it; a failure that its run has recorded stays as it is."""
    try:
        row = json.loads((folder / RESULT).read_text())
    except (OSError, ValueError):
        row = {"error": ""}
    if not isinstance(row, dict) or row.get("error") != error:
        failed = {"status": "failed", "error": error, **words, "metrics": {}}
        write_result(folder, row | {"error": error} if ended_well(folder) else failed)


def check_is_no_sweep(hydra_config: Any) -> None:
    """Refuse an experiment whose words nobody has chosen; it is many runs."""
    typed = {override.partition("=")[0] for override in hydra_config.overrides.task}
    open_words = [word for word in hydra_config.sweeper.params or {} if word not in typed]
    if "experiment" in typed and open_words:
        raise UserError(
            f"an experiment is a sweep over {', '.join(open_words)}: add -m after src.train, or say one of each."
        )


def planned_words(composed: DictConfig, typed: Iterable[str]) -> dict[str, Any]:
    """What is known of a row before its job has run, even if it cannot."""
    paths = {"task": "task.name", "model": "model.name", "recipe": "recipe.name", "seed": "seed"}
    teacher = OmegaConf.select(composed, "teacher.kind")
    return {
        **{word: OmegaConf.select(composed, path) for word, path in paths.items()},
        "teacher": OmegaConf.select(composed, "teacher.name") if teacher == "checkpoint" else teacher,
        "num_epochs": OmegaConf.select(composed, "recipe.num_epochs"),
        "settings": settings_of(typed),
    }
