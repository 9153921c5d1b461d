"""The check of a composed configuration: names, ranges, windows, missing files. Imports nothing heavy."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from winnow.config.numbered import is_recipe, names_like
from winnow.config.resolve import leaves
from winnow.errors import UserError, nearest
from winnow.extras import require_extra
from winnow.files.conf_folder import CONF
from winnow.files.local_files import local_files, looks_local, resolve_model_folder
from winnow.files.run_files import RESOLVED
from winnow.ranges import check_range
from winnow.sparseml.zoo import refuse_stub

_GROUPS = ("model", "task", "teacher", "recipe", "dense", "trainer", "logger", "export")
_CELL = ("task", "model", "recipe", "teacher")  # the words beside whose result a published figure stands


def check(config: Mapping[str, Any], typed: Iterable[str] = ()) -> None:
    """Refuse what cannot run: unknown settings, values out of range, windows that do not fit, missing files.

    Args:
        config: as `resolve` returns it.
        typed: overrides of the command line; a setting that would have no effect is refused.
    """
    refuse_stub("model.name", config["model"]["name"])
    refuse_stub("teacher.name", config["teacher"].get("name"))
    for override in typed:
        words = override.lstrip("+").split("=")[0].split(".")
        if words[0] == "recipe" and words[1:2] and words[1] in config.get("translation", {}).get("modifiers", ()):
            raise UserError(
                f"{override} has no effect: the file sets {words[1]}. Change its variables with "
                "recipe.variables.NAME=VALUE, or convert it with python -m src.convert."
            )
        if words[0] == "teacher" and config["recipe"]["num_epochs"] == 0 and override != "teacher=none":
            raise UserError(
                f"{override} has no effect: recipe={config['recipe']['name']} does not train; leave it out."
            )
        if words[0] == "recipe" and _taught() & {*words[1:2]} and config["teacher"]["kind"] == "none":
            raise UserError(f"{override} has no effect with teacher=none; leave it out or name a teacher.")
    _check_keys(config)
    _check_published(config.get("published", []))
    for path, name, value in leaves(config):
        if path != "recipe.num_epochs" or not _calibrates(config["recipe"]):
            check_range(name, value, path)
        elif value != 0:
            raise UserError(f"{path}={value}: a recipe that calibrates does not train; say 0.")
    _check_windows(config["recipe"])
    if (logger := config["logger"]["kind"]) in ("wandb", "tensorboard"):
        require_extra(f"logger={logger}", extra=logger, package=logger)
    local_files(config["task"]["data"])
    if config["model"]["config"] is None and looks_local(config["model"]["name"]):
        resolve_model_folder(config["model"]["name"])
    if config["teacher"]["kind"] == "checkpoint" and looks_local(config["teacher"]["name"]):
        folder = resolve_model_folder(config["teacher"]["name"], "teacher.name")
        _check_teacher_windows(config["teacher"]["name"], folder.parent / RESOLVED, config["task"])


def _check_teacher_windows(name: str, path: Path, task: Mapping[str, Any]) -> None:
    """A teacher that is a run of ours must have read texts in windows like the student's."""
    theirs = yaml.safe_load(path.read_text())["task"] if path.is_file() else {}
    for setting in ("max_seq_length", "doc_stride"):
        if setting in task and theirs.get(setting, task[setting]) != task[setting]:
            raise UserError(
                f"teacher.name={name} was trained with task.{setting}={theirs[setting]}, the student has "
                f"{task[setting]}; give both the same windows with task.{setting}={theirs[setting]}, or name another "
                "teacher."
            )


def _taught() -> set[str]:
    """The modifiers that need a teacher, by the names that recipes give them."""
    return {path.stem for path in (CONF / "modifier").glob("*.yaml") if "teacher" in _shipped(f"modifier/{path.stem}")}


def check_export(settings: Mapping[str, Any]) -> None:
    """Refuse settings of an export that are unknown or out of range.

    Args:
        settings: the ``export`` section.
    """
    check_known("export", settings, _shipped("export/onnx"))
    for name, value in settings.items():
        check_range(name, value, f"export.{name}")


def _calibrates(recipe: Mapping[str, Any]) -> bool:
    """True for a recipe that does not train."""
    return any(isinstance(node, Mapping) and "calibration_samples" in node for node in recipe.values())


def _check_windows(recipe: Mapping[str, Any]) -> None:
    for name, modifier in recipe.items():
        if not isinstance(modifier, Mapping) or "start_epoch" not in modifier:
            continue
        start, last = modifier["start_epoch"], recipe["num_epochs"]
        for key in ("end_epoch", "disable_observer_epoch"):
            if -1 < modifier.get(key, -1) < start:
                raise UserError(
                    f"recipe.{name}: start_epoch {start:g} is after {key} {modifier[key]:g}; it must not be."
                )
        for key in ("start_epoch", "end_epoch", "disable_observer_epoch"):
            epoch = modifier.get(key, -1)
            if epoch > last:
                raise UserError(
                    f"recipe.{name}.{key} is {epoch:g}, after the end of training at {last:g}; "
                    f"raise recipe.num_epochs or lower {key}."
                )


def _check_keys(config: Mapping[str, Any]) -> None:
    """Every setting must stand in the shipped file that documents it; Hydra's '+' would accept any."""
    check_known("", config, {*_shipped("job"), *_shipped("train"), *_GROUPS, "translation", "settings"})
    check_task(config["task"])
    check_known("model", config["model"], _shipped("model/tiny"))
    check_known("trainer", config["trainer"], _shipped("trainer/default"))
    check_known("logger", config["logger"], _shipped(f"logger/{config['logger']['kind']}"))
    check_known("cache", config["cache"], _shipped("job")["cache"])
    check_known("export", config["export"], _shipped(f"export/{config['export']['kind']}"))
    check_known("teacher", config["teacher"], _shipped(f"teacher/{config['teacher']['kind']}"))
    _check_recipe("recipe", config["recipe"])
    _check_recipe("dense", config["dense"])


def _check_published(rows: Any) -> None:
    """Rows of a published table say whose they are, beside which cell they stand, and what was measured."""
    if not isinstance(rows, list):
        raise UserError(f"published must be a list of rows, got {rows!r}.")
    for i, row in enumerate(rows):
        path = f"published[{i}]"
        if not isinstance(row, Mapping):
            raise UserError(f"{path} must have source, {', '.join(_CELL)} and metrics, got {row!r}.")
        check_known(path, row, ("source", *_CELL, "metrics", "note"))
        for name in ("source", *_CELL, "metrics"):
            if name not in row:
                raise UserError(f"{path} has no {name}; add it.")
        for word in _CELL:
            name, known = str(row[word]), [file.stem for file in (CONF / word).glob("*.yaml")]
            if not (is_recipe(name) if word == "recipe" else name in known):
                likely = names_like(name, known) if word == "recipe" else known
                raise UserError(f"{path}.{word}: {name} does not exist.{nearest(name, likely)}")
        figures = row["metrics"]
        if (
            not isinstance(figures, Mapping)
            or not figures
            or not all(type(figure) in (int, float) for figure in figures.values())
        ):
            raise UserError(f"{path}.metrics must be names with numbers, such as {{f1: 88.5}}, got {figures!r}.")


def check_task(task: Mapping[str, Any]) -> None:
    """Refuse a task section with another ``_target_`` than the shipped files have, or with other settings."""
    target = task.get("_target_")
    check_known("task", task, _documented("task", target))
    check_known("task.data", task["data"], {*_shipped("data/splits"), *_documented("task", target, "data")})
    check_known("task.data.files", task["data"]["files"], _shipped("data/splits")["files"])


def _check_recipe(path: str, recipe: Mapping[str, Any]) -> None:
    for name in ("learning_rate", "distillation"):
        if not isinstance(recipe.get(name, {}), Mapping):
            alike = [f"{path}.{leaf}" for leaf, last, _ in leaves(recipe) if last == name and leaf != name]
            hint = f" Did you mean '{alike[0]}'?" if alike else ""
            raise UserError(f"{path}.{name}={recipe[name]}: {name} is a group of settings, not one of them.{hint}")
    modifiers = {name for name, node in recipe.items() if isinstance(node, Mapping) and "_target_" in node}
    check_known(path, recipe, {*_shipped("training/finetune"), "optimizer", *modifiers})
    check_known(f"{path}.optimizer", recipe["optimizer"], _shipped("optimizer/adamw"))
    for name in modifiers:
        check_known(f"{path}.{name}", recipe[name], _documented("modifier", recipe[name]["_target_"]))


def check_known(path: str, node: Mapping[str, Any], known: Any) -> None:
    """Refuse a setting of a section that is not one of the known."""
    for name in node:
        if name not in known:
            full = f"{path}.{name}" if path else name
            raise UserError(
                f"{full} is not a setting; {path or 'the configuration'} has "
                f"{', '.join(sorted(set(known) - {'_target_', 'defaults', 'hydra'}))}.{nearest(name, known)}"
            )


@functools.cache
def _shipped(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / f"{name}.yaml").read_text())


def _documented(group: str, target: str | None, section: str | None = None) -> set[str]:
    """The settings of what ``target`` builds: all keys, of a section or at the top, of the files that name it."""
    keys = {"_target_"}
    for path in (CONF / group).glob("*.yaml"):
        shipped = _shipped(f"{group}/{path.stem}")
        if shipped.get("_target_") == target:
            keys |= (shipped[section] if section else shipped).keys()
    if target is None or keys == {"_target_"}:
        raise UserError(f"_target_: {target} is none of what the files in conf/{group} build.")
    return keys - {"defaults"}
