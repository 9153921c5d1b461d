"""Checks of a typed configuration against the machine and the command line, before anything heavy is loaded."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from winnow.command_line import command_line
from winnow.config.modifiers import DistillationSettings
from winnow.config.numbered import is_recipe, names_like
from winnow.config.recipe import Recipe
from winnow.config.run import PublishedRow, RunConfig, saved_config
from winnow.config.section import Section
from winnow.config.task import TextClassification, TokenClassification
from winnow.errors import UserError, nearest
from winnow.extras import require_extra
from winnow.files.conf_folder import CONF
from winnow.files.local_files import (
    check_data_file,
    local_files,
    looks_local,
    resolve_model_folder,
    unlabeled_file,
)
from winnow.files.run_files import RESOLVED
from winnow.files.token_limit import check_length, token_limit
from winnow.sparseml.zoo import refuse_stub

_OPTIONS = ("task", "model", "recipe", "teacher", "trainer", "logger", "export")


def check(config: RunConfig, overrides: Iterable[str] = ()) -> None:
    """Refuse what cannot run: missing files and packages, and overrides that contradict others.

    An override that changes nothing and does no harm is noted on standard error.

    Args:
        config: of the run.
        overrides: of the command line; none for a job of a sweep: an override may have its effect in another job.

    Raises:
        UserError: for the first that is found.
    """
    refuse_stub("model.name", config.model.name)
    refuse_stub("teacher.name", config.teacher.name)
    overrides = list(overrides)
    for position, override in enumerate(overrides):
        _check_effect(override, config)
        if reason := _reason_without_effect(override, overrides[position + 1 :], config):
            print(f"note: {override} has no effect, since {reason}.", file=sys.stderr, flush=True)
    _check_published(config.published)
    if config.logger.kind in ("wandb", "tensorboard"):
        require_extra(f"logger={config.logger.kind}", extra=config.logger.kind, package=config.logger.kind)
    local_files(config.task.data)
    _check_unlabeled(config)
    _note_unused_labels(config)
    for name, file in config.recipe.calibration_files.items():
        check_data_file(Path(file), f"recipe.{name}.calibration", config.task.data)
    _check_lengths(config)
    if config.teacher.name is not None and looks_local(config.teacher.name):
        _check_teacher_windows(config, config.teacher.name)


def _check_unlabeled(config: RunConfig) -> None:
    """Refuse texts without labels where nothing can be learned from them."""
    file = unlabeled_file(config.task.data)
    if file is None:
        return
    if not isinstance(config.task, TextClassification | TokenClassification):
        raise UserError(
            f"task.data.files.unlabeled={file}: task={config.task.name} cannot learn from texts without labels; the "
            "tasks of text_classification and token_classification can."
        )
    taught = [settings for settings in config.recipe.modifiers.values() if settings.needs_teacher]
    if not any(getattr(settings, "hardness", 1.0) for settings in taught):
        raise UserError(
            f"task.data.files.unlabeled={file} needs a teacher, which labels the texts; name one, such as "
            "teacher=dense, with a recipe that distils and recipe.distillation.hardness above 0."
        )


def _note_unused_labels(config: RunConfig) -> None:
    """Note settings of the loss of the labels where the student learns from its teacher alone."""
    changes = config.task.changes_of_loss if isinstance(config.task, TextClassification) else []
    taught = [each for each in config.recipe.modifiers.values() if isinstance(each, DistillationSettings)]
    if changes and any(each.replaces_labels(config.recipe.num_epochs) for each in taught):
        others = "; they change its dense teacher" if config.teacher.kind == "dense" else ""
        print(
            f"note: without effect on the student: {', '.join(changes)}. At hardness 1 it learns from its teacher "
            f"alone; lower recipe.distillation.hardness to add the loss of the labels{others}.",
            file=sys.stderr,
            flush=True,
        )


def _check_lengths(config: RunConfig) -> None:
    """Refuse texts that are longer than the model can read; a hub model is checked once it is loaded."""
    model = config.model.config
    if model is None and looks_local(config.model.name):
        model = json.loads((resolve_model_folder(config.model.name) / "config.json").read_text(encoding="utf-8"))
    for setting, length in config.chosen_lengths.items():
        check_length(setting, length, token_limit(model or {}))


def _check_effect(override: str, config: RunConfig) -> None:
    """Refuse an override whose effect the user expects and does not get."""
    setting, _, value = _parts(override)
    if setting in _OPTIONS and value == "[]":
        raise UserError(f"{override} names no {setting}; leave it out.")
    section, _, rest = setting.partition(".")
    modifier = rest.partition(".")[0]
    if section == "recipe" and config.translation is not None and modifier in config.translation.modifiers:
        raise UserError(
            f"{override} has no effect: the recipe file sets {modifier}. Change its variables with "
            f"recipe.variables.NAME=VALUE, or convert the file with {command_line('convert')}."
        )
    if section == "teacher" and config.recipe.num_epochs == 0 and override != "teacher=none":
        raise UserError(f"{override} has no effect: recipe={config.recipe.name} does not train; leave it out.")
    left_out = modifier and modifier not in {*Recipe.model_fields, *config.recipe.modifiers}
    if section == "recipe" and config.recipe.num_epochs == 0 and left_out:
        raise UserError(f"{override} has no effect: with recipe.num_epochs=0 nothing is trained; leave it out.")
    if section == "recipe" and config.teacher.kind == "none" and left_out:
        raise UserError(f"{override} has no effect with teacher=none; leave it out or name a teacher.")
    if setting == "model.name" and config.model.config is not None:
        raise UserError(
            f"{override} has no effect: this model is built from model.config. Choose a pretrained one, such as "
            f"model=bert_base {override}."
        )


def _reason_without_effect(override: str, later: Iterable[str], config: RunConfig) -> str:
    """Why an override that may be left in place changes nothing; '' if it changes something."""
    setting, _, value = _parts(override)
    for other in later:
        replaced, _, other_value = _parts(other)
        if replaced in _OPTIONS:
            continue  # Hydra composes options first, whatever their place
        if (setting == replaced and value != other_value) or setting.startswith(f"{replaced}."):
            return f"{other} comes after it"
    present = _at(config, setting)
    if override.startswith("~") and present is not None:
        return f"the setting has a default, {present}"
    if value == "{}" and isinstance(present, Section):
        return "an empty mapping is merged into the settings that are there"
    data = config.task.data
    place = {f"task.data.{name}": getattr(data, name) for name in ("path", "subset", "revision")}.get(setting)
    if place is not None and data.files.splits:
        return "task.data.files names the data"
    if setting == "task.data.revision" and place is not None and (data.path is None or looks_local(data.path)):
        return "the data are not read from the hub"
    if setting == "task.data.subset" and place is not None and data.path is None:
        return "there is no task.data.path"
    examples, part = data.batch_size, config.trainer.micro_batch_size
    if setting == "trainer.micro_batch_size" and isinstance(part, int) and part >= examples:
        return f"task.data.batch_size is {examples}"
    return "there is no teacher" if setting.startswith("cache.") and not config.recipe.needs_teacher else ""


def _at(node: Any, path: str) -> Any:
    """The setting or section of a full name; None where there is none."""
    for name in path.split("."):
        modifiers = node.modifiers if isinstance(node, Recipe) else {}
        node = modifiers.get(name, getattr(node, name, None)) if isinstance(node, Section) else None
    return node


def _parts(override: str) -> tuple[str, str, str]:
    return override.lstrip("+~").partition("=")


def _check_published(rows: Sequence[PublishedRow]) -> None:
    """A published row must name the options of a table cell, or no table would show it."""
    for number, row in enumerate(rows):
        for option in ("task", "model", "recipe", "teacher"):
            name, known = getattr(row, option), [file.stem for file in (CONF / option).glob("*.yaml")]
            if not (is_recipe(name) if option == "recipe" else name in known):
                likely = names_like(name, known) if option == "recipe" else known
                raise UserError(f"published.{number}.{option}: {name} does not exist.{nearest(name, likely)}")


def _check_teacher_windows(config: RunConfig, name: str) -> None:
    """A teacher that is a run of this project must have read texts in the same windows as the student."""
    run = resolve_model_folder(name, "teacher.name").parent
    if not (run / RESOLVED).is_file():
        return
    student, teacher = config.task.model_dump(), saved_config(run).task.model_dump()
    for setting in ("max_seq_length", "doc_stride"):
        if setting in student and teacher.get(setting, student[setting]) != student[setting]:
            raise UserError(
                f"teacher.name={name} was trained with task.{setting}={teacher[setting]}, the student has "
                f"{student[setting]}; give both the same windows with task.{setting}={teacher[setting]}, or name "
                "another teacher."
            )
