"""Train, prune and distil one model: ``python -m src.train task=sst2 recipe=prune80 teacher=dense``."""

import copy
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.apart import run_apart, words_of_dense
from src.checks import check
from src.config import dense_config, fingerprint, is_taught, resolve, settings_of
from src.deployment.exportable import check_export_of
from src.errors import nearest_names, short_errors
from src.hub import work_offline_without_a_connection
from src.launchers import queued_again, runs_beside_others, unfinished_sweeps
from src.locks import only_one
from src.memory import limit_kernel_cache
from src.reports.run_log import build_loggers, log_again, run_log
from src.reports.summary import summary
from src.resume import find_unfinished, intact_checkpoint, job_to_resume, run_to_resume
from src.run_folder import ended_well, find_run, is_main_process, new_run_folder, read_result, recorded_run, take_over
from src.sweep import check_is_no_sweep, recorded_job, state_of
from src.whole_files import require_disk_space, save_folder, write_atomically

if TYPE_CHECKING:
    from datasets import DatasetDict


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def main(composed: DictConfig) -> None:
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
            run(config, folder, checkpoint, loggers)
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
        with only_one(output_dir, name, "Dense run: another job trains it.") if is_dense else nullcontext():
            checkpoint = job_to_resume(folder, config)  # by now another job may have trained a dense run in this folder
            if ended_well(folder):
                pass
            elif is_dense and (found := find_run(output_dir, name)):
                take_over(found, folder)
                log_again(config, folder, loggers)
            elif config["trainer"]["strategy"] != "auto":
                run_apart(folder, typed)
            else:
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


def run(config: Mapping[str, Any], folder: Path, checkpoint: Path | None, loggers: list[Any]) -> None:
    """Train, from a checkpoint on where there is one; the row says what came out. Its loggers join those given."""
    from src.data.load import load_splits  # heavy imports wait until the configuration is known to be good

    with recorded_run(folder, config, resumed=checkpoint is not None) as row:
        splits = load_splits(config["task"]["data"])
        loggers += build_loggers(config["logger"], folder)
        row |= train(config, folder, splits, checkpoint, loggers)


def deploy(folder: Path, settings: Mapping[str, Any]) -> str:
    """Export a run; what came of it, as a table. Settings that cannot work are refused before the training."""
    from src.deployment.export import export_run
    from src.reports.export import export_summary

    deployment = export_run(folder, settings)
    report = json.loads((deployment / "verification.json").read_text())
    return export_summary(read_result(folder), report, deployment)


def find_or_train_dense(config: Mapping[str, Any], splits: "DatasetDict") -> Path:
    """The run of the same task, model and seed with recipe=dense, trained now if there is none."""
    dense, output_dir = dense_config(config), Path(config["output_dir"])
    name = fingerprint(dense)
    with only_one(output_dir, name, waiting="Dense teacher: another job trains it."):  # the jobs of a sweep share it
        found = find_run(output_dir, name)
        if found is None:
            unfinished = find_unfinished(output_dir, name) if config["resume"] else None
            found = unfinished or new_run_folder(dense)
            checkpoint = intact_checkpoint(found)
            how = "an unfinished one goes on" if checkpoint else f"none found in {output_dir}, so it is trained first"
            print(f"Dense teacher: {how}, in {found}", flush=True)
            if config["trainer"]["strategy"] != "auto":
                run_apart(found, words_of_dense(name))
                return found
            with run_log() as loggers, recorded_run(found, dense, resumed=checkpoint is not None) as row:
                loggers += build_loggers(dense["logger"], found)
                row |= train(dense, found, splits, checkpoint, loggers)
        else:
            print(f"Dense teacher: {found}")
    return found


def train(
    config: Mapping[str, Any],
    folder: Path,
    stored: "DatasetDict",
    checkpoint: Path | None = None,
    loggers: Sequence[Any] = (),
) -> dict[str, Any]:
    """Data, model, teacher, training; the best model is saved and measured.

    Args:
        config: as `src.config.resolve` returns it.
        folder: of the run.
        stored: the splits as `src.data.load.load_splits` returns them.
        checkpoint: from which a killed run goes on.
        loggers: as `src.reports.run_log.build_loggers` returns them.

    Returns:
        What the run adds to its result.json.
    """
    import pytorch_lightning as pl
    import torch

    from src.data.datamodule import TaskData
    from src.data.load import arrange_splits
    from src.evaluation import an_entry_a_line, evaluate, sparsity_report
    from src.models.load import load_saved, load_student, load_tokenizer, save_model
    from src.models.module import FineTuner
    from src.models.teacher import find_teacher
    from src.models.teacher_cache import TeacherCache
    from src.models.trainer import best_weights, build_trainer, epochs_taken, fit, loader_workers, processes
    from src.models.untrained import apply_without_training
    from src.modifiers.base import build_modifiers, trainer_clock
    from src.modifiers.clock import recipe_clock
    from src.modifiers.plan import rehearse
    from src.quiet import quiet_libraries

    quiet_libraries()
    limit_kernel_cache()
    for logger in loggers:
        logger.begin(config, resumed=checkpoint is not None)
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    task = hydra.utils.instantiate(config["task"], _convert_="all")
    splits = arrange_splits(task.prepare(stored), config["task"]["data"])
    tokenizer = load_tokenizer(config["model"], **task.tokenizer_options)
    student = load_student(config["model"], task, tokenizer)
    require_disk_space(folder, bytes_needed=52 * student.num_parameters())
    data = TaskData(
        task=task,
        splits=splits,
        tokenizer=tokenizer,
        batch_size=config["task"]["data"]["batch_size"],
        eval_batch_size=config["task"]["data"]["eval_batch_size"],
        num_workers=loader_workers(config["trainer"]["num_workers"]),
        seed=config["seed"],
        drop_last=config["task"]["data"]["drop_last"],
    )
    batches = -(-len(data.train_dataloader()) // processes(config["trainer"]))
    clock = recipe_clock(batches, config["recipe"]["num_epochs"], config["trainer"])
    rehearse(config["recipe"], copy.deepcopy(student), clock)  # refuses now what it would after hours of a teacher
    with torch.random.fork_rng():  # the student trains alike whether its teacher is found or trained
        dense = find_or_train_dense(config, stored) if config["teacher"]["kind"] == "dense" else None
    teacher = find_teacher(config["teacher"], student, task, tokenizer, splits["train"], dense)
    modifiers = build_modifiers(config["recipe"], teacher=teacher)
    if clock.total_steps:
        module = FineTuner(student, task=task, optimizer=config["recipe"]["optimizer"], validation=data.validation)
        monitor = f"val/{task.metric_names[0]}"
        trainer = build_trainer(config, folder, modifiers, monitor=monitor, loggers=loggers)
        cache = None
        if teacher is not None and is_taught(config["recipe"]):
            cache = TeacherCache(teacher, data, trainer, config["cache"], folder)
            teacher.stored = cache.outputs(clock.total_steps)
        seconds = fit(trainer, module, data, checkpoint)
        if not trainer.is_global_zero:
            sys.exit()  # the main process saves and measures alone
        if cache:
            cache.remove_own()
        assert trainer_clock(trainer) == clock, "the training took other steps than its plan has"
        module.load_state_dict(best_weights(trainer))
        events, epochs = module.events, epochs_taken(trainer)
    else:
        seconds, events = apply_without_training(modifiers, student, data, clock)
        epochs = 0.0

    write_atomically(folder / "events.json", an_entry_a_line(events))
    for modifier in modifiers:
        modifier.check()
    save_folder(folder / "model", lambda path: save_model(student, tokenizer, path))
    saved = load_saved(folder / "model", task)
    facts: dict[str, Any] = {}
    for modifier in modifiers:
        facts |= modifier.facts()
    return {
        **facts,
        "metrics": evaluate(saved, data, data.validation, folder),
        "test_metrics": evaluate(saved, data, [name for name in splits if name == "test"], folder),
        **sparsity_report(saved),
        "train_seconds": round(seconds, 1),
        "epochs": round(epochs, 2),  # fewer than the recipe's after an early stop
        "samples_per_second": round(epochs * len(data.encoded["train"]) / seconds, 1) if seconds else 0.0,
    }


if __name__ == "__main__":
    with nearest_names(), unfinished_sweeps():
        main()
