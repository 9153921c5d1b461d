"""The fingerprint of a run: two runs share it if their configuration and local files give the same result."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from winnow.config.run import RunConfig
from winnow.config.task import UNLABELED
from winnow.files.checksums import CARD, sha256
from winnow.files.local_files import local_files, looks_local, resolve_model_folder, unlabeled_file

# Settings of the trainer that can change a result; the others change how fast it is computed, or what is shown.
_TRAINER = {"precision", "devices", "accumulate_grad_batches", "limit_train_batches", "max_steps", "patience"}


def fingerprint(config: RunConfig, any_seed: bool = False) -> str:
    """Twelve hexadecimal digits.

    Args:
        config: of the run.
        any_seed: leave the seed out, so the runs of a table cell share the digits.
    """
    identity = _identity(config)
    if any_seed:
        identity["seed"] = None
    identity["data"] = {
        split: [sha256(path) for path in paths] for split, paths in local_files(config.task.data).items()
    }
    if identity["data"]:
        identity["task"]["data"] |= {"path": None, "files": None}
    if unlabeled := unlabeled_file(config.task.data):
        identity["data"][UNLABELED] = sha256(unlabeled)
    for name, file in config.recipe.calibration_files.items():
        identity["recipe"][name]["calibration"] = sha256(Path(file))
    if config.model.config is None and looks_local(config.model.name):
        identity["model"] = _digests(resolve_model_folder(config.model.name))
    if config.teacher.name is not None and looks_local(config.teacher.name):
        identity["teacher"] = _digests(resolve_model_folder(config.teacher.name, "teacher.name"))
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def differences(before: RunConfig, now: RunConfig) -> list[str]:
    """The settings in which two configurations with different fingerprints differ, as sentences."""
    old, new = dict(leaves(_identity(before))), dict(leaves(_identity(now)))
    return [
        f"{path} is {old.get(path, 'not set')} there and {new.get(path, 'not set')} here"
        for path in dict.fromkeys((*old, *new))
        if old.get(path) != new.get(path)
    ]


def leaves(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(full path, value) of every value that is no mapping."""
    for name, value in node.items():
        here = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping) and value:
            yield from leaves(value, here)
        else:
            yield here, value


def _identity(config: RunConfig) -> dict[str, Any]:
    """The part of a configuration that can change the result."""
    data = config.task.data.model_dump(by_alias=True, exclude={"files": {UNLABELED}})
    identity: dict[str, Any] = {
        # a setting that has a default is newer than others: runs of earlier versions are found without it
        "task": config.task.model_dump(by_alias=True, exclude_defaults=True) | {"data": data},
        "model": config.model.model_dump(),
        "recipe": config.recipe.plain(),
        "teacher": config.teacher.model_dump(exclude_none=True),
        "seed": config.seed,
        "trainer": config.trainer.model_dump(include=_TRAINER),
    }
    if config.trainer.micro_batch_size is not None:  # dropout draws other numbers
        identity["trainer"]["micro_batch_size"] = config.trainer.micro_batch_size
    if config.teacher.kind == "dense":
        identity["dense"] = config.dense.plain()
    if config.recipe.needs_teacher and config.cache.precision != "float32":  # the teacher's outputs are rounded
        identity["cache"] = {"precision": config.cache.precision}
    return identity


def _digests(folder: Path) -> list[str]:
    return [sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != CARD]
