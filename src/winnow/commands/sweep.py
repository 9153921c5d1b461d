"""The sweep of ``train -m``: its plan before the first job, its report after the last."""

import json
import logging
import math
import sys
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict

from winnow.command_line import SWEEP_PLAN, command_line
from winnow.commands.hydra_errors import describe_hydra
from winnow.config.checks import check
from winnow.config.composed import plain_values
from winnow.config.outputs import Logger
from winnow.config.resolve import run_config
from winnow.config.sweep_values import listed
from winnow.errors import UserError, describe, short_errors
from winnow.files.atomic import write_atomically
from winnow.files.json_text import json_text
from winnow.reports.report_files import write_report
from winnow.reports.results import collect
from winnow.reports.sweep_log import log_sweep
from winnow.reports.terminal_report import on_screen
from winnow.runs.launchers import check_plugins
from winnow.runs.sweep import planned_row
from winnow.runs.sweep_status import job_states, progress


class Sweep(Callback):
    """Called by Hydra before the first job and after the last."""

    def __init__(self) -> None:
        self._jobs: list[dict[str, Any]] = []  # of this command: another one may plan other jobs in the same folder

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write sweep.json and print the progress; an error that every job has ends the command."""
        with short_errors():
            check_plugins(config.hydra)
            _list_values(config)
            folder = Path(config.hydra.sweep.dir)
            if not _is_basic(config):  # it chooses its jobs when those before have ended
                import optuna

                optuna.logging.set_verbosity(logging.WARNING)
                write_atomically(folder / SWEEP_PLAN, json_text(_plan(config, folder, {}), indent=2) + "\n")
                print(f"search: {config.hydra.sweeper.n_trials} trials in {folder}", flush=True)
                return
            jobs = {job["folder"]: job for job in _planned(config)}
            errors = [error for job in jobs.values() if (error := job.pop("error", None))]
            if errors and len(errors) == len(jobs):
                raise UserError(errors[0])
            self._jobs = list(jobs.values())
            write_atomically(folder / SWEEP_PLAN, json_text(_plan(config, folder, jobs), indent=2) + "\n")
            print(f"sweep: {len(jobs)} job{'s' * (len(jobs) != 1)} in {folder}, {progress(folder)}")
            if errors:
                print(f"note: {len(errors)} of them cannot run: {errors[0]}")
            sys.stdout.flush()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write and print the report; exit with status 1 if a job of this command has no good row."""
        folder = Path(config.hydra.sweep.dir)
        with short_errors():
            _wait_for_others(folder, self._jobs)
            results = collect([folder])
            files = write_report(results, folder / "report")
            print(f"\n{on_screen(results, files)}")
            logger = Logger.read(OmegaConf.to_container(config.logger, resolve=True), "logger")
            log_sweep(logger, folder, results, files)
            if not _is_basic(config):
                print(f"\nsearch: {_best(folder)}", flush=True)
                return
        states = job_states(folder, self._jobs)
        print(f"\nsweep: {progress(folder, self._jobs)}", flush=True)
        missed = sum(state.word != "done" for state in states)
        if missed:
            sys.exit(f"error: {missed} of {len(states)} jobs have not succeeded; the same command repeats them.")


def _list_values(sweep: DictConfig) -> None:
    """Replace the values of a sweep by plain lists, before Hydra makes jobs of them."""
    if not _is_basic(sweep):
        return  # another sweeper has its own ways to choose values
    loader = GlobalHydra.instance().config_loader()
    params = _params(sweep)
    with flag_override(sweep, ["struct", "readonly"], [False, False]):
        sweep.hydra.overrides.task = listed(_typed(sweep), loader)
        sweep.hydra.sweeper.params = dict(each.split("=", 1) for each in listed(params, loader)) or None


def _params(sweep: DictConfig) -> list[str]:
    return [f"{name}={value}" for name, value in (sweep.hydra.sweeper.params or {}).items()]


def _typed(sweep: DictConfig) -> list[str]:
    """The overrides with their interpolations, which each job resolves by itself."""
    typed = OmegaConf.to_container(sweep.hydra.overrides.task, resolve=False)
    assert isinstance(typed, list)
    return typed


def _is_basic(sweep: DictConfig) -> bool:
    return bool(sweep.hydra.sweeper._target_.endswith(f".{BasicSweeper.__name__}"))


def _plan(config: DictConfig, folder: Path, jobs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": folder.name,
        "command": command_line("train", *sys.argv[1:]),
        "jobs": list(jobs.values()),
        "published": plain_values(config)["published"],
        "earlier": _earlier(folder, jobs),
    }


def _earlier(folder: Path, jobs: Container[str]) -> dict[str, list[str]]:
    """Earlier commands of this sweep that planned other runs too, with the folders of all their runs."""
    try:
        plan = json.loads((folder / SWEEP_PLAN).read_text())
        before = plan.get("earlier", {}) | {plan["command"]: [job["folder"] for job in plan["jobs"]]}
        return {command: runs for command, runs in before.items() if not all(run in jobs for run in runs)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # there is no earlier plan, or it is damaged


def _wait_for_others(folder: Path, jobs: Sequence[Mapping[str, Any]]) -> None:
    """Wait for jobs of this command that another command runs, such as jobs that outlive a command that was killed."""
    printed = False
    while others := [state.title for state in job_states(folder, jobs) if state.word == "running"]:
        if not printed:
            print(f"sweep: another command runs {'; '.join(others)}; waiting for it.", flush=True)
        printed = True
        time.sleep(1)


def _best(folder: Path) -> str:
    """What a search has found, from the file of its sweeper."""
    found = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    if found["best_value"] == -math.inf:
        raise UserError("no trial of the search has succeeded; the table has their errors.")
    settings = " ".join(f"{name}={value}" for name, value in found["best_params"].items())
    return f"the best score is {found['best_value']:.4g}, with {settings}"


def _planned(sweep: DictConfig) -> Iterator[dict[str, Any]]:
    """Each job as sweep.json lists it, with its error where its configuration has one."""
    overrides = OverridesParser.create().parse_overrides([*_params(sweep), *_typed(sweep)])
    (batch,) = BasicSweeper.split_arguments(overrides, None)
    loader = GlobalHydra.instance().config_loader()
    folders: dict[str, set[str]] = {}
    for number, job in enumerate(batch):
        try:
            composed = loader.load_sweep_config(sweep, list(job))
        except ConfigCompositionException as error:
            raise UserError(f"the job {' '.join(job)} cannot run: {describe_hydra(error)}") from error
        with open_dict(composed):
            composed.hydra.job.num = number  # as the launchers set it; the name of a folder may use it
        folder = composed.hydra.sweep.subdir
        if different := folders.setdefault(folder, set(job)) ^ set(job):
            raise UserError(
                f"{' and '.join(sorted(different))} would run in one folder, {folder}; give each its own with "
                "'hydra.sweep.subdir=${hydra.job.num}'."
            )
        yield {"folder": folder, **planned_row(composed, job), **_error(composed, job)}


def _error(composed: DictConfig, overrides: Iterable[str]) -> dict[str, str]:
    try:
        check(run_config(composed, overrides))
    except UserError as error:
        return {"error": describe(error)}
    return {}
