"""Train, prune and distil one model: ``python -m src.train task=sst2 recipe=prune80 teacher=dense``."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from winnow.config.checks import check
from winnow.config.resolve import dense_config, fingerprint, resolve, settings_of
from winnow.deployment.exportable import check_export_of
from winnow.errors import nearest_names, short_errors
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection
from winnow.files.locks import named_lock
from winnow.files.run_files import ended_well, read_result
from winnow.loggers.run_log import log_again, run_log
from winnow.processes import is_main_process
from winnow.reports.run_summary import summary
from winnow.runs.launchers import queued_again, runs_beside_others, unfinished_sweeps
from winnow.runs.resume import job_to_resume, run_to_resume
from winnow.runs.run_folder import find_run, take_over
from winnow.runs.subprocess_run import run_apart
from winnow.runs.sweep import check_is_no_sweep, recorded_job, state_of

if TYPE_CHECKING:
    pass


def main() -> None:
    with nearest_names(), unfinished_sweeps():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def _main(composed: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    folder, typed = Path(hydra_config.runtime.output_dir), list(hydra_config.overrides.task)
    with short_errors():
        if hydra_config.mode == RunMode.MULTIRUN:
            with queued_again(), recorded_job(folder, composed, typed):
                run_job(composed, folder, typed)
        else:
            check_is_no_sweep(hydra_config)
            run_alone(composed, folder, typed)


def run_alone(composed: DictConfig, made: Path, typed: Sequence[str]) -> None:
    """A single run, in the folder that Hydra has made for it or in that of the run which it goes on with."""
    config = checked(composed, typed, told=typed)
    if "translation" in config and is_main_process():
        print(config["translation"]["report"])
    folder, checkpoint = run_to_resume(made, config) if config["resume"] else (made, None)
    with run_log() as loggers:
        if not (config["resume"] and ended_well(folder)):
            from winnow.runs.training_run import run  # heavy: only once the configuration is checked

            run(config, folder, checkpoint, loggers)
            if not is_main_process():
                return  # of a data-parallel run the main process reports alone
        row, dense = read_result(folder), find_run(Path(config["output_dir"]), fingerprint(dense_config(config)))
        print(summary(row, folder, (dense, read_result(dense)) if dense and not dense.samefile(folder) else None))
        if config["export"]["kind"] != "none" and is_main_process():
            print(f"\n{deploy(folder, config['export'])}")


def run_job(composed: DictConfig, folder: Path, typed: Sequence[str]) -> None:
    """A job of a sweep: what is done of it stays, the rest follows; a dense run is shared with teacher=dense."""
    config = checked(composed, typed) | {"resume": True}
    if runs_beside_others(HydraConfig.get()):
        config["trainer"] = config["trainer"] | {"progress_bar": False}
        if state := state_of(folder):
            config["title"] = state.title
    output_dir, name = Path(config["output_dir"]), fingerprint(config)
    is_dense = name == fingerprint(dense_config(config))
    with run_log() as loggers:
        with named_lock(output_dir, name, "Dense run: another job trains it.") if is_dense else nullcontext():
            checkpoint = job_to_resume(folder, config)  # by now another job may have trained a dense run in this folder
            if ended_well(folder):
                pass
            elif is_dense and (found := find_run(output_dir, name)):
                take_over(found, folder)
                log_again(config, folder, loggers)
            elif config["trainer"]["strategy"] != "auto":
                run_apart(folder, typed)
            else:
                from winnow.runs.training_run import run

                run(config, folder, checkpoint, loggers)
        if config["export"]["kind"] != "none" and not (folder / "deployment" / "verification.json").is_file():
            deploy(folder, config["export"])


def checked(composed: DictConfig, typed: Sequence[str], told: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved configuration of a command line; what cannot run is refused before anything heavy is loaded.

    Args:
        composed: by Hydra.
        typed: the overrides of the command line.
        told: those that are refused where they would have no effect; in a sweep they may have one in another job.
    """
    config = resolve(composed)
    check(config, typed=told)
    if config["export"]["kind"] != "none":
        check_export_of(config["task"], config["export"])
    work_offline_without_a_connection(config)
    return config | {"settings": settings_of(typed)}


def deploy(folder: Path, settings: Mapping[str, Any]) -> str:
    """Export a run; what came of it, as a table. Settings that cannot work are refused before the training."""
    from winnow.deployment.export_run import export_run
    from winnow.reports.export_summary import export_summary

    deployment = export_run(folder, settings)
    report = json.loads((deployment / "verification.json").read_text())
    return export_summary(read_result(folder), report, deployment)


if __name__ == "__main__":
    main()
