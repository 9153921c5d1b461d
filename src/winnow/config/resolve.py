"""The composed configuration: resolvers, plain values, the fingerprint. Imports nothing heavy."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from winnow.errors import UserError
from winnow.files.local_files import local_files, looks_local, resolve_model_folder
from winnow.ranges import BY_PATTERN
from winnow.sparseml.config_translation import translate_config

# Settings of a task and of modifiers that are lists; a single word stands for a list of one.
_LISTS = ("metrics", "text_columns", "validation", "params", "submodules", "exclude")

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

# What a command line may say without making another configuration of it: the words, which tables name anyway, and
# what cannot change the result.
_UNSAID = re.compile(
    r"(task|model|recipe|teacher|seed|experiment|logger|export|output_dir|resume)$|hydra[./]|"
    r"(logger|export|cache)\.|trainer\.(progress_bar|num_workers|log_every_n_steps|checkpoint_every|keep_checkpoints)$"
)

_NO_LABEL = re.compile(r"/|model|\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d+")


def _register_resolvers() -> None:
    """Boundaries that scale with ``num_epochs``: ``${mul:a,b}``, and ``${share:num_epochs,2,30}`` for 2 of 30; names
    of folders: ``${model_label:name}``, ``${settings_label:overrides}``, ``${sweep_name:overrides,task}``; and
    ``/open@section: mapping``, a section to which a command line may add settings without a ``+``.
    """
    OmegaConf.register_new_resolver("mul", lambda a, b: a * b, replace=True)
    OmegaConf.register_new_resolver("share", lambda whole, part, parts: whole * part / parts, replace=True)
    OmegaConf.register_new_resolver("model_label", model_label, replace=True)
    OmegaConf.register_new_resolver("settings_label", settings_label, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True, use_cache=True)  # a job's is its sweep's
    ConfigStore.instance().store(group="open", name="mapping", node=DictConfig({}, flags={"struct": False}))


def model_label(name: Any) -> str:
    """What a model is called in folders and titles: the last part of its name, without the time that ends a run's."""
    parts = [part for part in Path(str(name)).parts if not _NO_LABEL.fullmatch(part)]
    return parts[-1] if parts else "model"


def settings_of(overrides: Iterable[str]) -> dict[str, str]:
    """What a command line sets beside its words and beside what cannot change the result, by full name."""
    pairs = (override.lstrip("+~").partition("=")[::2] for override in overrides)
    return {name: value for name, value in sorted(pairs) if not _UNSAID.match(name)}


def settings_label(overrides: Iterable[str]) -> str:
    """'' for a command line without settings; else a dash and six hexadecimal digits of them."""
    settings = settings_of(overrides)
    return f"-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:6]}" if settings else ""


def sweep_name(overrides: Sequence[str], task: str) -> str:
    """The folder of a sweep: experiment, tasks, models, and a label of the settings that all its jobs share.

    So the same command goes on in the same folder, also with more recipes, teachers or seeds.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    words = dict(typed.partition("=")[::2] for typed in overrides)
    fixed = [typed for typed, each in zip(overrides, parsed, strict=True) if not each.is_sweep_override()]
    names = [words.get("experiment"), words.get("task", None if "experiment" in words else task), words.get("model")]
    return re.sub(r"[^\w.+-]", "+", "-".join(filter(None, names)))[:80] + settings_label(fixed)


def resolve(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain values; a recipe file translated, and without a teacher no modifier that needs one.

    Raises:
        UserError: for a value that is missing or refers to nothing, and a recipe file that cannot be translated.
    """
    config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    translation = {}
    if OmegaConf.select(config, "recipe.path"):
        config, translation["translation"] = translate_config(config)
    try:
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} must be given: add {error.full_key}=VALUE to the command.") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'the configuration'}: {str(error).splitlines()[0]}.") from error
    for section in _sections_with_lists(plain):
        section |= {name: [section[name]] for name in _LISTS if isinstance(section.get(name), str)}
    if plain.get("recipe", {}).get("num_epochs") == 0:
        plain["teacher"] = {"kind": "none"}  # nobody learns
    if plain.get("teacher", {}).get("kind") == "none":
        plain["recipe"] = _without_teacher(plain["recipe"])
    return plain | translation


def _sections_with_lists(plain: Mapping[str, Any]) -> list[dict[str, Any]]:
    task = plain.get("task", {})
    modifiers = (node for recipe in ("recipe", "dense") for node in plain.get(recipe, {}).values())
    return [node for node in (task, task.get("data"), *modifiers) if isinstance(node, dict)]


def dense_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the dense run of the same task, model and seed: the dense teacher, and the reference."""
    kept = {name: value for name, value in config.items() if name != "translation"}
    settings = {name: value for name, value in config.get("settings", {}).items() if not name.startswith("recipe.")}
    dense = {"recipe": _without_teacher(config["dense"]), "teacher": {"kind": "none"}, "settings": settings}
    title = {"title": f"dense teacher of {kept['title']}"} if "title" in kept else {}
    return {**kept, **dense, **title}


def is_taught(recipe: Mapping[str, Any]) -> bool:
    """True if a modifier of a recipe learns from a teacher."""
    return any(map(_needs_teacher, recipe.values()))


def _without_teacher(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {name: node for name, node in recipe.items() if not _needs_teacher(node)}


def _needs_teacher(node: Any) -> bool:
    return isinstance(node, Mapping) and "teacher" in node


def fingerprint(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that two runs share if their configuration and local files give the same result."""
    identity: dict[str, Any] = {key: config[key] for key in _FINGERPRINTED}
    if config["teacher"]["kind"] == "dense":
        identity["dense"] = config["dense"]
    if _rounds_teacher(config):
        identity["cache"] = config["cache"]["precision"]
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


def _rounds_teacher(config: Mapping[str, Any]) -> bool:
    """True if the outputs of a teacher are not used as they are."""
    cache = config.get("cache") or {"precision": "float32"}  # older runs have none
    return is_taught(config["recipe"]) and cache["precision"] != "float32"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings in which two configurations with unlike fingerprints differ, as sentences."""

    def settings(config: Mapping[str, Any]) -> dict[str, Any]:
        trainer = {key: config["trainer"].get(key) for key in _FINGERPRINTED_TRAINER}
        sections = (*_FINGERPRINTED, *(["dense"] if config["teacher"]["kind"] == "dense" else []))
        rounding = {"cache": {"precision": config["cache"]["precision"]}} if _rounds_teacher(config) else {}
        used = {**{section: config[section] for section in sections}, "trainer": trainer, **rounding}
        return {path: value for path, _, value in leaves(used)}

    old, new = settings(before), settings(now)
    return [
        f"{path} is {old.get(path, 'not set')} there and {new.get(path, 'not set')} here"
        for path in dict.fromkeys((*old, *new))
        if old.get(path) != new.get(path)
    ]


def _digests(folder: Path) -> list[str]:
    return [_digest(path) for path in sorted(folder.iterdir()) if path.is_file()]


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@cache
def _digest_of(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """(full path, name, value) of every value that is no mapping; values by pattern have the name of their setting."""
    for name, value in node.items():
        here = f"{path}.{name}" if path else str(name)
        if not isinstance(value, Mapping) or not value:
            yield here, str(name), value
        elif name in BY_PATTERN:
            yield from ((f"{here}[{pattern}]", name, each) for pattern, each in value.items())
        else:
            yield from leaves(value, here)


_register_resolvers()  # also in the processes of a launcher, which import this and no command
