"""What two trainings that differ only in how often they were stopped must have in common, to the bit."""

import json
from pathlib import Path
from typing import Any

import torch

from winnow.files.checksums import SUMS, sha256
from winnow.files.run_files import BEST, CHECKPOINTS, LAST, RESULT

_RESULT = ("status", "metrics", "test_metrics", "sparsity_by_layer", "nonzero_parameters", "fingerprint", "cell")
_TIMED = ("verification.json", "README.md", SUMS)  # with times of the export, and their checksums


def states(outputs: Path) -> dict[str, dict[str, Any]]:
    """The state of every run below an output folder, by the fingerprint of its configuration."""
    folders = [path.parent for path in outputs.rglob(RESULT)]
    return {json.loads((folder / RESULT).read_text())["fingerprint"]: final_state(folder) for folder in folders}


def final_state(run: Path) -> dict[str, Any]:
    """The part of a finished run that must not depend on how often it was stopped."""
    row = json.loads((run / RESULT).read_text())
    return {
        **training_state(read(run / CHECKPOINTS / LAST)),
        "best": read(run / CHECKPOINTS / BEST)["state_dict"],
        **{name: row.get(name) for name in _RESULT},
        "events": json.loads((run / "events.json").read_text()),
        **{folder: sums(run / folder) for folder in ("model", "deployment") if (run / folder).is_dir()},
    }


def read(path: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def training_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The state of a checkpoint, without paths and times."""
    callbacks = {name: state for name, state in checkpoint["callbacks"].items() if name != "RunCheckpoint"}
    for name, state in callbacks.items():
        if name.startswith("BestCheckpoint"):
            callbacks[name] = {key: state[key] for key in ("best_model_score", "current_score", "kth_value")}
    return {**checkpoint, "callbacks": callbacks}


def sums(folder: Path) -> dict[str, str]:
    """The checksums of the files of a model or deployment that have no times in them."""
    return {path.name: sha256(path) for path in folder.iterdir() if path.name not in _TIMED}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """The paths at which two nested states differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(name, one[name], other[name]) for name in one]
        return [found for name, a, b in pairs for found in differences(a, b, f"{path}/{name}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return differences(dict(enumerate(one)), dict(enumerate(other)), path)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    return [] if one == other else [path]
