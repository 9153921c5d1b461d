"""Training in a run folder; a dense teacher that it needs is found or trained first."""

from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict

from winnow.config.fingerprint import fingerprint
from winnow.config.run import RunConfig, dense_run
from winnow.data.splits import load_splits
from winnow.files.locks import named_lock
from winnow.loggers.build import build_loggers
from winnow.loggers.run_log import run_log
from winnow.quiet import limit_kernel_cache, quiet_libraries
from winnow.runs.resume import find_resumable, intact_checkpoint
from winnow.runs.run_folder import find_run, new_run_folder, recorded_run
from winnow.runs.subprocess_run import dense_overrides, run_in_subprocess
from winnow.training.run import prepare, train
from winnow.training.trainer import check_hardware


def run(config: RunConfig, folder: Path, checkpoint: Path | None, loggers: list[Any]) -> None:
    """Train in a run folder and write its result.json.

    Args:
        config: of the run.
        folder: of the run.
        checkpoint: to resume from.
        loggers: a list to which the loggers of the run are added.
    """
    quiet_libraries()
    limit_kernel_cache()
    with recorded_run(folder, config, resumed=checkpoint is not None) as row:
        check_hardware(config.trainer)
        row |= _trained(config, folder, load_splits(config.task.data, unlabeled=True), checkpoint, loggers)


def find_or_train_dense(config: RunConfig, stored: DatasetDict) -> Path:
    """The run of the same task, model and seed with recipe=dense, trained now if there is none.

    Args:
        config: of the run that needs the teacher.
        stored: the splits as `winnow.data.splits.load_splits` returns them.
    """
    dense, output_dir = dense_run(config), Path(config.output_dir)
    name = fingerprint(dense)
    with named_lock(output_dir, name, waiting="Dense teacher: another job trains it."):  # the jobs of a sweep share it
        if found := find_run(output_dir, name):
            print(f"Dense teacher: {found}")
            return found
        unfinished = find_resumable(output_dir, name) if config.resume else None
        folder = unfinished or new_run_folder(dense)
        checkpoint = intact_checkpoint(folder)
        how = "resuming an unfinished run" if checkpoint else f"none found in {output_dir}, so it is trained first"
        print(f"Dense teacher: {how}, in {folder}", flush=True)
        if config.trainer.data_parallel:
            run_in_subprocess(folder, dense_overrides(name))
            return folder
        with run_log() as loggers, recorded_run(folder, dense, resumed=checkpoint is not None) as row:
            row |= _trained(dense, folder, stored, checkpoint, loggers)
    return folder


def _trained(
    config: RunConfig, folder: Path, stored: DatasetDict, checkpoint: Path | None, loggers: list[Any]
) -> dict[str, Any]:
    loggers += build_loggers(config.logger, folder)
    for logger in loggers:
        logger.begin(config, resumed=checkpoint is not None)
    prepared = prepare(config, folder, stored)
    with torch.random.fork_rng():  # the student gets the same random numbers whether its teacher is found or trained
        dense = find_or_train_dense(config, stored) if config.teacher.kind == "dense" else None
    return train(config, folder, prepared, dense, checkpoint, loggers)
