"""The files of a run folder: result.json, the resolved configuration, checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from winnow.errors import UserError, nearest
from winnow.files.atomic import write_atomically
from winnow.files.checksums import SUMS
from winnow.files.json_text import json_text, read_json

RESULT = "result.json"
RESOLVED = Path(".hydra") / "resolved.yaml"  # the configuration of the run
FINGERPRINT = Path(".hydra") / "fingerprint"
CHECKPOINTS = "checkpoints"
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


def read_result(folder: Path) -> dict[str, Any]:
    """result.json of a finished run.

    Raises:
        UserError: if the folder has none.
    """
    path = folder / RESULT
    if not folder.is_dir():
        siblings = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
        raise UserError(f"run={folder}: there is no such folder.{nearest(folder.name, siblings)}")
    if not path.is_file():
        unfinished = (folder / RESOLVED).is_file()
        remedy = f"finish it with resume=true hydra.run.dir={folder}" if unfinished else "name the folder of a run"
        raise UserError(f"run={folder}: there is no {RESULT}, so no run has ended here; {remedy}.")
    try:
        row = read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}).") from error
    if not isinstance(row, dict):
        raise UserError(f"{path} is damaged (it holds no mapping).")
    return row


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration of a run."""
    path = folder / RESOLVED
    if not path.is_file():
        raise UserError(f"run={folder}: {path} is missing, so the configuration of the run is unknown.")
    try:
        config = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}).") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is damaged (it holds no mapping).")
    return config


def write_result(folder: Path, row: Mapping[str, Any]) -> None:
    """Write result.json atomically."""
    write_atomically(folder / RESULT, json_text(row, indent=2) + "\n")


def ended_well(folder: Path) -> bool:
    """True if result.json has the status ok."""
    try:
        return bool(read_json(folder / RESULT)["status"] == "ok")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def has_model(folder: Path) -> bool:
    """True if a run has a model, even a damaged one."""
    return any((folder / "model" / name).is_file() for name in ("config.json", SUMS))


def is_good(row: Any) -> bool:
    """True for the result of a run that did not fail, and whose export did not fail either."""
    return isinstance(row, dict) and row.get("status") == "ok" and not row.get("error")
