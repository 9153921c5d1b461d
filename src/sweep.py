"""A sweep: the jobs that a command asks for, each in a folder that the same command finds again."""

import json
import shlex
import sys
import time
import traceback
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from src.checks import check
from src.config import resolve, settings_of
from src.errors import StoppedError, UserError, describe, short_errors, wants_traces
from src.launchers import check_launcher, end_by_sigterm, runs_beside_others
from src.locks import BusyError
from src.reports.files import on_screen, write_report
from src.reports.overview import JOBS, JobState, job_states, outcome, progress
from src.reports.results import collect
from src.reports.run_log import log_sweep
from src.run_folder import RESULT, ended_well, write_result
from src.whole_files import write_atomically


class Sweep(Callback):
    """What Hydra calls before the first job and after the last: the plan, and what has become of it."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write sweep.json and say what is to be done; a mistake that every job has ends the command."""
        with short_errors():
            check_launcher(config.hydra)
            if runs_beside_others(config.hydra):
                end_by_sigterm()
            try:
                jobs = {job["folder"]: job for job in _planned(config)}
            except ConfigCompositionException:
                return  # a word that there is not: Hydra says so next, with those there are
            mistakes = [mistake for job in jobs.values() if (mistake := job.pop("mistake", None))]
            if mistakes and len(mistakes) == len(jobs):
                raise UserError(mistakes[0])
            folder = Path(config.hydra.sweep.dir)
            plan = {
                "name": folder.name,
                "command": shlex.join(["python", "-m", "src.train", *sys.argv[1:]]),
                "jobs": list(jobs.values()),
                "published": OmegaConf.to_container(config.published),
                "earlier": _earlier(folder, jobs),
            }
            write_atomically(folder / JOBS, json.dumps(plan, indent=2) + "\n")
            print(f"sweep: {len(jobs)} job{'s' * (len(jobs) != 1)} in {folder}, {progress(folder)}")
            if mistakes:
                print(f"note: {len(mistakes)} of them cannot run: {mistakes[0]}")
            sys.stdout.flush()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write and show the report; exit with status 1 where a job has no good row."""
        folder = Path(config.hydra.sweep.dir)
        with short_errors():
            _wait_for_others(folder)
            results = collect([folder])
            print(f"\n{on_screen(results, write_report(results, folder / 'report'))}")
        log_sweep(config.logger, folder)
        states = job_states(folder)
        print(f"\nsweep: {progress(folder)}", flush=True)
        missed = sum(state.word != "done" for state in states)
        if missed:
            sys.exit(f"error: {missed} of {len(states)} jobs have no good row; the same command runs them again.")


def _earlier(folder: Path, jobs: Container[str]) -> dict[str, list[str]]:
    """The commands that have planned runs of this sweep which the new one does not, each with the runs' folders."""
    try:
        plan = json.loads((folder / JOBS).read_text())
        before = plan.get("earlier", {}) | {plan["command"]: [job["folder"] for job in plan["jobs"]]}
        return {command: runs for command, runs in before.items() if not all(run in jobs for run in runs)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # there is none, or it is damaged


def _wait_for_others(folder: Path) -> None:
    """Jobs that another command runs, such as one that was killed and whose jobs live on, end before the report."""
    told = False
    while others := [state.title for state in job_states(folder) if state.word == "running"]:
        if not told:
            print(f"sweep: another command runs {'; '.join(others)}; waiting for it.", flush=True)
        told = True
        time.sleep(1)


def _planned(sweep: DictConfig) -> Iterator[dict[str, Any]]:
    """Each job as sweep.json lists it, with its mistake where its configuration has one."""
    if not sweep.hydra.sweeper._target_.endswith(f".{BasicSweeper.__name__}"):
        return  # another sweeper chooses its jobs as it goes
    words = [f"{name}={value}" for name, value in (sweep.hydra.sweeper.params or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*words, *sweep.hydra.overrides.task])
    (batch,) = BasicSweeper.split_arguments(overrides, None)
    loader = GlobalHydra.instance().config_loader()
    folders: dict[str, set[str]] = {}
    for number, typed in enumerate(batch):
        try:
            composed = loader.load_sweep_config(sweep, typed)
        except ConfigCompositionException:
            print(f"The job {' '.join(typed)} cannot be:", file=sys.stderr, flush=True)  # why, Hydra says
            raise
        with open_dict(composed):
            composed.hydra.job.num = number  # as the launchers do it; a folder may be called by it
        folder = composed.hydra.sweep.subdir
        if unlike := folders.setdefault(folder, set(typed)) ^ set(typed):
            raise UserError(
                f"{' and '.join(sorted(unlike))} would run in one folder, {folder}; tell them apart by "
                "'hydra.sweep.subdir=${hydra.job.num}'."
            )
        yield {"folder": folder, **_words(composed, typed), **_mistake(composed)}


def _words(composed: DictConfig, typed: Iterable[str]) -> dict[str, Any]:
    """What is known of a row before its job has run, even if it cannot."""
    paths = {"task": "task.name", "model": "model.name", "recipe": "recipe.name", "seed": "seed"}
    teacher = OmegaConf.select(composed, "teacher.kind")
    return {
        **{word: OmegaConf.select(composed, path) for word, path in paths.items()},
        "teacher": OmegaConf.select(composed, "teacher.name") if teacher == "checkpoint" else teacher,
        "num_epochs": OmegaConf.select(composed, "recipe.num_epochs"),
        "settings": settings_of(typed),
    }


def _mistake(composed: DictConfig) -> dict[str, str]:
    try:
        check(resolve(composed))
    except UserError as error:
        return {"mistake": describe(error)}
    return {}


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
        _record(folder, describe(error), _words(composed, typed))
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
