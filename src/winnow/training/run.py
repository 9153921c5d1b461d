"""One training: prepare data and model, find the teacher, fit, then save and evaluate the best model."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from datasets import DatasetDict

from winnow.config.run import RunConfig
from winnow.data.splits import arrange_splits
from winnow.errors import UserError
from winnow.files.atomic import compact_json, require_disk_space, save_folder, write_atomically
from winnow.models.finite import check_weights
from winnow.models.gradient_checkpointing import enable_gradient_checkpointing
from winnow.models.pretrained import load_saved, load_student, load_tokenizer, save_model
from winnow.models.teacher import find_teacher
from winnow.models.text_length import limit_length
from winnow.modifiers.clock import Clock, recipe_clock
from winnow.modifiers.modifier import Modifier, build_modifiers, recorded_events, trainer_clock
from winnow.modifiers.rehearsal import rehearse
from winnow.tasks.predictor import Row
from winnow.tasks.task import Task, build_task
from winnow.training.calibration import apply_without_training, calibration_texts
from winnow.training.evaluation import constant_prediction, decide_threshold, evaluate, sparsity_report
from winnow.training.module import FineTuner
from winnow.training.speed import give_tables
from winnow.training.task_data import TaskData
from winnow.training.teacher_cache import TeacherCache
from winnow.training.trainer import (
    best_weights,
    build_trainer,
    epochs_taken,
    fit,
    loader_workers,
    processes,
)


@dataclass(frozen=True)
class Preparation:
    """The inputs of a training: the task with its labels, the data, the student and the steps of the recipe."""

    task: Task
    tokenizer: Any
    student: Any
    data: TaskData
    clock: Clock
    calibration: Mapping[str, Sequence[Row]]  # texts of files, by the modifier that is calibrated on them


@dataclass(frozen=True)
class Outcome:
    """The results of a training other than the weights.

    Args:
        seconds: spent on training, those before an interruption included.
        epochs: trained; fewer than the recipe's after an early stop.
        events: as the modifiers recorded them.
    """

    seconds: float
    epochs: float
    events: list[dict[str, Any]]


def prepare(config: RunConfig, folder: Path, stored: DatasetDict) -> Preparation:
    """Seed all generators, encode the data, load the student, and rehearse the recipe on a copy of it.

    Args:
        config: of the run.
        folder: of the run.
        stored: the splits as `winnow.data.splits.load_splits` returns them.

    Raises:
        UserError: for data, a model or a recipe that cannot be trained; raised before a teacher is trained.
    """
    pl.seed_everything(config.seed, workers=True, verbose=False)
    task = build_task(config.task)
    splits = arrange_splits(task.prepare(stored), config.task.data)
    calibration = calibration_texts(config, task)
    tokenizer = load_tokenizer(config.model, **task.tokenizer_options)
    student = load_student(config.model, task, tokenizer)
    limit_length(tokenizer, config, student.config)
    if config.trainer.gradient_checkpointing:
        enable_gradient_checkpointing(student)
    _refuse_untrained(config, student)
    require_disk_space(folder, bytes_needed=52 * student.num_parameters())
    data = TaskData(
        task=task,
        splits=splits,
        tokenizer=tokenizer,
        batch_size=config.task.data.batch_size,
        eval_batch_size=config.task.data.eval_batch_size,
        num_workers=loader_workers(config.trainer.num_workers),
        seed=config.seed,
        drop_last=config.task.data.drop_last,
    )
    batches = -(-len(data.train_dataloader()) // processes(config.trainer))
    clock = recipe_clock(batches, config.recipe.num_epochs, config.trainer)
    modifiers = rehearse(config.recipe, copy.deepcopy(student), clock)
    give_tables(modifiers, student, task, config, folder)
    for modifier in modifiers:
        modifier.begin(clock)  # with the table it refuses a speedup out of reach
    return Preparation(task, tokenizer, student, data, clock, calibration)


def train(
    config: RunConfig,
    folder: Path,
    prepared: Preparation,
    dense: Path | None,
    checkpoint: Path | None,
    loggers: Sequence[Any],
) -> dict[str, Any]:
    """Train the student by its recipe, save the best model and evaluate it.

    Args:
        config: of the run.
        folder: of the run.
        prepared: by `prepare`.
        dense: the run of the dense teacher, with teacher=dense.
        checkpoint: to resume from.
        loggers: as `winnow.loggers.build.build_loggers` returns them.

    Returns:
        What the run adds to its result.json; nothing in the other processes of a data-parallel run.
    """
    task, data = prepared.task, prepared.data
    teacher = find_teacher(config.teacher, prepared.student, task, prepared.tokenizer, data.splits["train"], dense)
    modifiers = build_modifiers(config.recipe, teacher=teacher)
    give_tables(modifiers, prepared.student, task, config, folder)
    outcome = _fit(config, folder, prepared, modifiers, teacher, checkpoint, loggers)
    if outcome is None:
        return {}
    write_atomically(folder / "events.json", compact_json(outcome.events))
    for modifier in modifiers:
        modifier.check()
        for name, content in modifier.files().items():
            write_atomically(folder / name, compact_json(content))
    check_weights(prepared.student, "the trained model", f"try a smaller {config.learning_rate_setting}")
    threshold = decide_threshold(prepared.student, data)
    save_folder(folder / "model", lambda path: save_model(prepared.student, prepared.tokenizer, path))
    examples = outcome.epochs * len(data.encoded["train"])
    return {
        **{name: fact for modifier in modifiers for name, fact in modifier.facts().items()},
        **threshold,
        **_measured(folder, task, data),
        "train_seconds": round(outcome.seconds, 1),
        "epochs": round(outcome.epochs, 2),
        "samples_per_second": round(examples / outcome.seconds, 1) if outcome.seconds else 0.0,
    }


def _refuse_untrained(config: RunConfig, student: Any) -> None:
    """Refuse a model without a trained head where a modifier judges it before the first step."""
    asked = any(getattr(each, "start_from_teacher", False) for each in config.recipe.modifiers.values())
    starts = asked and config.teacher.kind != "self"
    for name, settings in config.recipe.modifiers.items():
        if settings.judges_outputs and settings.window()[0] <= 0 and student.new_head and not starts:
            raise UserError(
                f"recipe.{name} chooses by the outputs of the model, which has no head that was trained for this task; "
                "add teacher=dense, or start from a finished run with model.name=FOLDER."
            )


def _fit(
    config: RunConfig,
    folder: Path,
    prepared: Preparation,
    modifiers: list[Modifier],
    teacher: Any,
    checkpoint: Path | None,
    loggers: Sequence[Any],
) -> Outcome | None:
    """Train, and load the best weights into the student. None in all but the main process of a data-parallel run."""
    data, clock = prepared.data, prepared.clock
    if not clock.total_steps:
        seconds, events = apply_without_training(modifiers, prepared.student, data, clock, prepared.calibration)
        return Outcome(seconds, 0.0, events)
    module = FineTuner(
        prepared.student,
        task=prepared.task,
        optimizer=config.recipe.optimizer,
        validation=data.validation,
        micro_batch_size=config.trainer.micro_batch_size,
    )
    monitor = f"val/{prepared.task.metric_names[0]}"
    trainer = build_trainer(config, folder, modifiers, monitor=monitor, loggers=loggers)
    cache = None
    if teacher is not None and config.recipe.needs_teacher:
        cache = TeacherCache(teacher, data, trainer, config.cache, folder)
        teacher.stored = cache.outputs(clock.total_steps)
    seconds = fit(trainer, module, data, checkpoint)
    if not trainer.is_global_zero:
        return None
    if cache:
        cache.remove_own()
    assert trainer_clock(trainer) == clock, "the training took other steps than its plan has"
    module.load_state_dict(best_weights(trainer))
    return Outcome(seconds, epochs_taken(trainer), recorded_events(modifiers))


def _measured(folder: Path, task: Task, data: TaskData) -> dict[str, Any]:
    """Metrics and zeros of the saved model, read from its folder as a user would."""
    saved, decided = load_saved(folder / "model", task), Counter[str]()
    metrics = evaluate(saved, data, data.validation, folder, decided)
    return {
        "metrics": metrics,
        "constant_prediction": constant_prediction(decided, metrics),
        "test_metrics": evaluate(saved, data, [name for name in data.splits if name == "test"], folder),
        **sparsity_report(saved),
    }
