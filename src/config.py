"""The composed configuration: resolvers, the check of names and ranges, the fingerprint. Imports nothing heavy."""

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from src.errors import UserError, nearest
from src.local_files import local_files, looks_local, resolve_model_folder
from src.ranges import BY_PATTERN, check_range
from src.recipes.running import translated
from src.recipes.zoo import refuse_stub

CONF = Path(__file__).parent.parent / "conf"
RESOLVED = Path(".hydra") / "resolved.yaml"  # the configuration of a run, in its folder

_GROUPS = ("model", "task", "teacher", "recipe", "dense", "trainer", "logger")

# Settings of a task that are lists; a single word stands for a list of one.
_LISTS = (("", "metrics"), ("data", "text_columns"), ("data", "validation"))

# What can change the result of a run; its outputs, loggers and the speed of its computation cannot.
_FINGERPRINTED = ("task", "model", "recipe", "teacher", "seed")
_FINGERPRINTED_TRAINER = (
    "precision",
    "devices",
    "accumulate_grad_batches",
    "limit_train_batches",
    "max_steps",
    "patience",
)

_NO_LABEL = re.compile(r"/|model|\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d+")


def register_resolvers() -> None:
    """Boundaries that scale with ``num_epochs``: ``${mul:a,b}``, and ``${share:num_epochs,2,30}`` for 2 of 30; names
    of folders: ``${model_label:name}``; and ``/open@section: mapping``, a section to which a command line may add
    settings without a ``+``.
    """
    OmegaConf.register_new_resolver("mul", lambda a, b: a * b, replace=True)
    OmegaConf.register_new_resolver("share", lambda whole, part, parts: whole * part / parts, replace=True)
    OmegaConf.register_new_resolver("model_label", model_label, replace=True)
    ConfigStore.instance().store(group="open", name="mapping", node=DictConfig({}, flags={"struct": False}))


def model_label(name: Any) -> str:
    """What a model is called in folders and titles: the last part of its name, without the time that ends a run's."""
    parts = [part for part in Path(str(name)).parts if not _NO_LABEL.fullmatch(part)]
    return parts[-1] if parts else "model"


def resolve(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain values; a recipe file translated, and without a teacher no modifier that needs one.

    Raises:
        UserError: for a value that is missing or refers to nothing, and a recipe file that cannot be translated.
    """
    translation = {}
    if OmegaConf.select(config, "recipe.path"):
        config, translation["translation"] = translated(config)
    try:
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} must be given: add {error.full_key}=VALUE to the command.") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'the configuration'}: {str(error).splitlines()[0]}.") from error
    for section, setting in _LISTS:
        node = plain.get("task", {}).get(section, {}) if section else plain.get("task", {})
        if isinstance(node.get(setting), str):
            node[setting] = [node[setting]]
    if plain.get("teacher", {}).get("kind") == "none":
        plain["recipe"] = _without_teacher(plain["recipe"])
    return plain | translation


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
        if words[0] == "recipe" and _taught() & {*words[1:2]} and config["teacher"]["kind"] == "none":
            raise UserError(f"{override} has no effect with teacher=none; leave it out or name a teacher.")
    _check_keys(config)
    for path, name, value in _leaves(config):
        check_range(name, value, path)
    _check_windows(config["recipe"])
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


def dense_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the dense run of the same task, model and seed: the dense teacher, and the reference."""
    kept = {name: value for name, value in config.items() if name != "translation"}
    return {**kept, "recipe": _without_teacher(config["dense"]), "teacher": {"kind": "none"}}


def _without_teacher(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {name: node for name, node in recipe.items() if not (isinstance(node, Mapping) and "teacher" in node)}


def _taught() -> set[str]:
    """The modifiers that need a teacher, by the names that recipes give them."""
    return {path.stem for path in (CONF / "modifier").glob("*.yaml") if "teacher" in _shipped(f"modifier/{path.stem}")}


def fingerprint(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that two runs share if their configuration and local files give the same result."""
    identity: dict[str, Any] = {key: config[key] for key in _FINGERPRINTED}
    if config["teacher"]["kind"] == "dense":
        identity["dense"] = config["dense"]
    identity["trainer"] = {key: config["trainer"][key] for key in _FINGERPRINTED_TRAINER}
    identity["data"] = {
        split: [_digest(path) for path in paths] for split, paths in local_files(config["task"]["data"]).items()
    }
    if identity["data"]:
        data = {**config["task"]["data"], "path": None, "files": None}
        identity["task"] = {**config["task"], "data": data}
    if config["model"]["config"] is None and looks_local(config["model"]["name"]):
        folder = resolve_model_folder(config["model"]["name"])
        identity["model"] = _digests(folder)
    if config["teacher"]["kind"] == "checkpoint" and looks_local(config["teacher"]["name"]):
        identity["teacher"] = _digests(resolve_model_folder(config["teacher"]["name"], "teacher.name"))
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings in which two configurations with unlike fingerprints differ, as sentences."""

    def settings(config: Mapping[str, Any]) -> dict[str, Any]:
        trainer = {key: config["trainer"].get(key) for key in _FINGERPRINTED_TRAINER}
        sections = (*_FINGERPRINTED, *(["dense"] if config["teacher"]["kind"] == "dense" else []))
        return {path: value for path, _, value in _leaves({**{s: config[s] for s in sections}, "trainer": trainer})}

    old, new = settings(before), settings(now)
    return [
        f"{path} is {old.get(path, 'not set')} there and {new.get(path, 'not set')} here"
        for path in dict.fromkeys((*old, *new))
        if old.get(path) != new.get(path)
    ]


def _digests(folder: Path) -> list[str]:
    return [_digest(path) for path in sorted(folder.iterdir()) if path.is_file()]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """(full path, name, value) of every value that is no mapping; values by pattern have the name of their setting."""
    for name, value in node.items():
        here = f"{path}.{name}" if path else str(name)
        if not isinstance(value, Mapping) or not value:
            yield here, str(name), value
        elif name in BY_PATTERN:
            yield from ((f"{here}[{pattern}]", name, each) for pattern, each in value.items())
        else:
            yield from _leaves(value, here)


def _check_windows(recipe: Mapping[str, Any]) -> None:
    for name, modifier in recipe.items():
        if not isinstance(modifier, Mapping) or "start_epoch" not in modifier:
            continue
        start, end, last = modifier["start_epoch"], modifier.get("end_epoch", -1), recipe["num_epochs"]
        if end != -1 and start > end:
            raise UserError(f"recipe.{name}: start_epoch {start:g} is after end_epoch {end:g}; it must not be.")
        for key, epoch in {"start_epoch": start, "end_epoch": end}.items():
            if epoch > last:
                raise UserError(
                    f"recipe.{name}.{key} is {epoch:g}, after the end of training at {last:g}; "
                    f"raise recipe.num_epochs or lower {key}."
                )


def _check_keys(config: Mapping[str, Any]) -> None:
    """Every setting must stand in the shipped file that documents it; Hydra's '+' would accept any."""
    check_known("", config, {*_shipped("job"), *_shipped("train"), *_GROUPS, "translation"})
    target = config["task"].get("_target_")
    check_known("task", config["task"], _documented("task", target))
    check_known("task.data", config["task"]["data"], {*_shipped("data/splits"), *_documented("task", target, "data")})
    check_known("task.data.files", config["task"]["data"]["files"], _shipped("data/splits")["files"])
    check_known("model", config["model"], _shipped("model/tiny"))
    check_known("trainer", config["trainer"], _shipped("trainer/default"))
    check_known("teacher", config["teacher"], _shipped(f"teacher/{config['teacher']['kind']}"))
    _check_recipe("recipe", config["recipe"])
    _check_recipe("dense", config["dense"])


def _check_recipe(path: str, recipe: Mapping[str, Any]) -> None:
    for name in ("learning_rate", "distillation"):
        if not isinstance(recipe.get(name, {}), Mapping):
            alike = [f"{path}.{leaf}" for leaf, last, _ in _leaves(recipe) if last == name and leaf != name]
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
    if keys == {"_target_"}:
        raise UserError(f"_target_: {target} is none of what the files in conf/{group} build.")
    return keys - {"defaults"}
