"""Train, prune, distil and quantise one model, or the models of a sweep: ``train task=sst2 recipe=prune80``."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from winnow.command_line import command_line, sweep_command
from winnow.commands.hydra_errors import hydra_errors
from winnow.config.checks import check
from winnow.config.fingerprint import fingerprint
from winnow.config.outputs import Export
from winnow.config.resolve import run_config
from winnow.config.run import RunConfig, dense_run
from winnow.config.task import MaskedLM
from winnow.deployment.exportable import check_export_of, is_exported
from winnow.errors import short_errors
from winnow.files.checksums import find_damage
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection
from winnow.files.json_text import read_json
from winnow.files.locks import named_lock
from winnow.files.run_files import ended_well, read_result
from winnow.loggers.run_log import run_log
from winnow.lost_output import droppable_output
from winnow.path_arguments import literal_paths
from winnow.processes import is_main_process
from winnow.reports.groups import smaller_is_better
from winnow.reports.run_summary import summary
from winnow.runs.launchers import requeued, runs_beside_others, unfinished_sweeps
from winnow.runs.resume import job_to_resume, run_to_resume
from winnow.runs.run_folder import dense_reference, find_run, take_over
from winnow.runs.subprocess_run import run_in_subprocess
from winnow.runs.sweep import check_is_no_sweep, recorded_job, state_of
from winnow.signals import stoppable
from winnow.text import relative_path


def main() -> None:
    sys.argv[1:] = literal_paths(sys.argv[1:])
    with droppable_output(), hydra_errors(), unfinished_sweeps():
        overrides = get_args(sys.argv[1:]).overrides  # last: Lightning adds some for the other processes of a run
        sys.argv[1:] = [*(argument for argument in sys.argv[1:] if argument not in overrides), *overrides]
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def _main(composed: DictConfig) -> float | None:
    """In a sweep, the score that a search maximises; -infinity of a failed job."""
    hydra_config = HydraConfig.get()
    folder, overrides = Path(hydra_config.runtime.output_dir), list(hydra_config.overrides.task)
    with short_errors():
        if hydra_config.mode == RunMode.MULTIRUN:
            with _in_any_process(Path(hydra_config.sweep.dir)), recorded_job(folder, composed, overrides):
                run_job(composed, folder, overrides)
            return search_score(folder)
        else:
            check_is_no_sweep(hydra_config)
            run_one(composed, folder, overrides)
    return None


@contextmanager
def _in_any_process(sweep: Path) -> Iterator[None]:
    """What the process of a command does for its jobs, also in the process of a launcher."""
    with requeued(), stoppable(f"resume with: {sweep_command(sweep)}"), droppable_output():
        yield


def search_score(folder: Path) -> float:
    """The first metric of a job, negative where less is better; -infinity of a job that failed or has no score."""
    metrics = read_result(folder)["metrics"] if ended_well(folder) else {}
    name, score = next(iter(metrics.items()), ("", None))
    if score is None:
        return -math.inf
    return -float(score) if smaller_is_better(name) else float(score)


def run_one(composed: DictConfig, made: Path, overrides: Sequence[str]) -> Path:
    """Train one model, in the folder that Hydra made or in that of the run to resume; returns it."""
    config = run_config(composed, overrides)
    check(config, overrides)
    _prepare(config)
    if config.translation is not None and is_main_process():
        print(config.translation.report)
    folder, checkpoint = run_to_resume(made, config) if config.resume else (made, None)
    with run_log() as loggers:
        if not (config.resume and ended_well(folder)):
            _run(config, folder, checkpoint, loggers)
        if is_main_process():  # the others of a data-parallel run print nothing
            print(summary(read_result(folder), folder, dense_reference(folder, config)))
            if config.export.kind != "none":
                print(f"\n{deploy(folder, config.export)}")
            elif not isinstance(config.task, MaskedLM):  # which cannot be deployed
                print(f"next     {command_line('export', f'run={relative_path(folder)}')}")
    return folder


def run_job(composed: DictConfig, folder: Path, overrides: Sequence[str]) -> None:
    """Train or resume one model of a sweep; jobs that need the dense run as teacher share it."""
    config = run_config(composed, overrides).changed(resume=True)
    check(config)
    _prepare(config)
    if runs_beside_others(HydraConfig.get()):
        state = state_of(folder)
        trainer = config.trainer.model_copy(update={"progress_bar": False})
        config = config.changed(trainer=trainer, title=state.title if state else None)
    name = fingerprint(config)
    is_dense = name == fingerprint(dense_run(config))
    output_dir = Path(config.output_dir)
    with run_log() as loggers:
        with named_lock(output_dir, name, "Dense run: another job trains it.") if is_dense else nullcontext():
            checkpoint = job_to_resume(folder, config)  # another job may have trained a dense run here meanwhile
            found = find_run(output_dir, name) if is_dense else None
            if ended_well(folder):
                pass
            elif found:
                from winnow.loggers.build import log_again  # heavy

                take_over(found, folder)
                log_again(config, folder, loggers)
            elif config.trainer.data_parallel:
                run_in_subprocess(folder, overrides)
            else:
                _run(config, folder, checkpoint, loggers)
        if config.export.kind != "none":
            deploy(folder, config.export)


def _prepare(config: RunConfig) -> None:
    """Refuse an export that cannot work, and work offline if the hub cannot be reached."""
    if config.export.kind != "none":
        check_export_of(config.task, config.export)
    work_offline_without_a_connection(config.hub_names)


def _run(config: RunConfig, folder: Path, checkpoint: Path | None, loggers: list[Any]) -> None:
    from winnow.reports.model_card import write_cards  # heavy: only once the configuration is checked
    from winnow.runs.training_run import run

    run(config, folder, checkpoint, loggers)
    if is_main_process():
        write_cards(folder)


def deploy(folder: Path, settings: Export) -> str:
    """Export a run unless it has this export, undamaged; returns the result as a table."""
    if is_exported(folder, settings):
        damage = find_damage(folder / "deployment")
        if not damage:
            return f"The export is in {relative_path(folder / 'deployment')} already."
        print(f"note: {damage}, so it is exported again.", flush=True)
    from winnow.deployment.export_run import export_run  # heavy: only once the run is done
    from winnow.reports.export_summary import export_summary
    from winnow.reports.model_card import write_cards

    deployment = export_run(folder, settings)
    write_cards(folder)
    report = read_json(deployment / "verification.json")
    return export_summary(read_result(folder), report, deployment)
