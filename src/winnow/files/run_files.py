"""The files of a run folder by name: its row (result.json), its configuration, its checkpoints."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from winnow.errors import UserError, nearest
from winnow.files.atomic import write_atomically

RESULT = "result.json"
RESOLVED = Path(".hydra") / "resolved.yaml"  # the configuration of the run
FINGERPRINT = Path(".hydra") / "fingerprint"
CHECKPOINTS = "checkpoints"
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


def read_result(folder: Path) -> dict[str, Any]:
    """The row of a run that has ended.

    Raises:
        UserError: if the folder is no such run.
    """
    path = folder / RESULT
    if not folder.is_dir():
        siblings = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
        raise UserError(f"run={folder}: there is no such folder.{nearest(folder.name, siblings)}")
    if not path.is_file():
        begun = f"; finish it with resume=true hydra.run.dir={folder}" if (folder / RESOLVED).is_file() else ""
        raise UserError(f"run={folder}: there is no {RESULT}, so no run has ended here{begun}.")
    try:
        row = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}).") from error
    if not isinstance(row, dict):
        raise UserError(f"{path} is damaged (it holds no mapping).")
    return row


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration of a run."""
    path = folder / RESOLVED
    if not path.is_file():
        raise UserError(f"run={folder}: {path} is missing, so nothing says how the run was configured.")
    try:
        config = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}).") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is damaged (it holds no mapping).")
    return config


def write_result(folder: Path, row: Mapping[str, Any]) -> None:
    """Write result.json, whole or not at all."""
    write_atomically(folder / RESULT, json.dumps(row, indent=2) + "\n")


def ended_well(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / RESULT).read_text())["status"] == "ok")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_good(row: Any) -> bool:
    """True for the row of a run of which nothing failed, its export neither."""
    return isinstance(row, dict) and row.get("status") == "ok" and not row.get("error")
