"""A sweep: the jobs that a command asks for, each in a folder that the same command finds again."""

import json
import shlex
import sys
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from winnow.command_line import SWEEP_PLAN
from winnow.config.checks import check
from winnow.config.resolve import resolve
from winnow.errors import UserError, describe, short_errors
from winnow.files.atomic import write_atomically
from winnow.reports.report_files import write_report
from winnow.reports.results import collect
from winnow.reports.sweep_log import log_sweep
from winnow.reports.terminal_report import on_screen
from winnow.runs.launchers import check_launcher, end_by_sigterm, runs_beside_others
from winnow.runs.sweep import planned_words
from winnow.runs.sweep_status import job_states, progress


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
            write_atomically(folder / SWEEP_PLAN, json.dumps(plan, indent=2) + "\n")
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
        plan = json.loads((folder / SWEEP_PLAN).read_text())
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
        yield {"folder": folder, **planned_words(composed, typed), **_mistake(composed)}


def _mistake(composed: DictConfig) -> dict[str, str]:
    try:
        check(resolve(composed))
    except UserError as error:
        return {"mistake": describe(error)}
    return {}
