"""The run folder: writing result.json last; finding and locking the run of a configuration."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from winnow.command_line import training_command
from winnow.config.fingerprint import fingerprint
from winnow.config.labels import folder_name, model_label
from winnow.config.run import RunConfig, dense_run
from winnow.errors import describe
from winnow.files.atomic import complete_files, files_below, write_atomically
from winnow.files.json_text import read_json
from winnow.files.local_files import model_damage
from winnow.files.locks import LOCK, BusyError, run_lock
from winnow.files.run_files import (
    CHECKPOINTS,
    FINGERPRINT,
    RESOLVED,
    RESULT,
    ended_well,
    has_model,
    read_result,
    write_result,
)
from winnow.processes import is_main_process

_RESUMED = Path(".hydra") / "resumed"  # a file with the number of times
_STALE = ("checkpoints/last.ckpt", "checkpoints/previous.ckpt", "checkpoints/best.ckpt", "logs/metrics.csv", _RESUMED)
_RECORDED = ("config.yaml", "hydra.yaml", "overrides.yaml")  # by Hydra, of a command
_PACKAGES = ("torch", "pytorch-lightning", "transformers", "datasets", "torchmetrics", "hydra-core")


def clear(folder: Path) -> None:
    """Remove the files of an earlier run that a new run in the folder could mistake for its own."""
    for path in (RESULT, *_STALE):
        (folder / path).unlink(missing_ok=True)


@contextmanager
def recorded_run(folder: Path, config: RunConfig, resumed: bool = False) -> Iterator[dict[str, Any]]:
    """Lock a run folder and write its result.json at the end, whether the run succeeds or fails.

    Args:
        folder: of the run; created if it does not exist.
        config: of the run; written to .hydra/, its recipe to recipe.yaml, the report of a translation to
            translation.txt.
        resumed: keep the checkpoints in the folder; False removes those of an earlier run.

    Yields:
        The row of the results table, to be filled in; only the main process of a data-parallel run writes it.
    """
    if not is_main_process():
        yield {}
        return
    with run_lock(folder):
        if config.resume and ended_well(folder):
            raise BusyError(f"{folder}: another command has just ended the run in this folder.")
        (folder / RESULT).unlink(missing_ok=True)
        if not resumed:
            clear(folder)
        row = _new_row(config)
        row["resumed"] = _count_resumption(folder) if resumed else 0
        write_atomically(folder / "recipe.yaml", yaml.safe_dump(config.recipe.plain(), sort_keys=False))
        write_atomically(folder / RESOLVED, yaml.safe_dump(config.plain(), sort_keys=False))
        if config.translation is not None:
            write_atomically(folder / "translation.txt", config.translation.report)
        write_atomically(folder / FINGERPRINT, row["fingerprint"])
        try:
            yield row
        except BaseException as error:
            row |= {"status": "failed", "error": describe(error)}
            with suppress(OSError):  # on a full disk; the error that is raised next names it
                write_result(folder, row)
            raise
        row["status"] = "ok"
        write_result(folder, row)
        if not config.trainer.keep_checkpoints:
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def find_run(output_dir: Path, wanted: str) -> Path | None:
    """The newest successful run with this fingerprint whose model still exists and is not damaged."""
    found = []
    for path in files_below(output_dir, RESULT):
        try:
            row, changed = read_json(path), path.stat().st_mtime
        except (ValueError, OSError):
            continue  # damaged, or removed meanwhile
        if row.get("status") == "ok" and row.get("fingerprint") == wanted and has_model(path.parent):
            found.append((changed, path.parent))
    for _, folder in sorted(found, reverse=True):
        damage = model_damage(folder / "model")
        if not damage:
            return folder
        if is_main_process():
            print(f"note: {folder} is not used: {damage}.")
    return None


def dense_reference(folder: Path, config: RunConfig) -> tuple[Path, dict[str, Any]] | None:
    """The dense run that a run is compared with, and its result.json; None without one, and for the dense run."""
    dense = find_run(Path(config.output_dir), fingerprint(dense_run(config)))
    return (dense, read_result(dense)) if dense and not dense.samefile(folder) else None


def take_over(run: Path, folder: Path) -> None:
    """Copy a finished run into a folder, except Hydra's record of the command, which the folder keeps."""
    for path in complete_files(run):  # another command may write a graph into it
        target = folder / path.relative_to(run)
        recorded = path.parent.name == ".hydra" and path.name in _RECORDED
        logged = path.relative_to(run).parts[0] in ("wandb", "tensorboard")  # a run of a logger belongs to one folder
        if path.is_file() and path.name not in (RESULT, LOCK.name) and not recorded and not logged:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            _link_or_copy(path, target)
    write_result(folder, read_result(run))


def _link_or_copy(path: Path, target: Path) -> None:
    """Hard-link a large file that is never written to, where the disk can do it; else copy."""
    with suppress(OSError):
        if path.suffix in (".safetensors", ".ckpt", ".onnx"):
            os.link(path, target)
            return
    shutil.copy2(path, target)


def new_run_folder(config: RunConfig) -> Path:
    """The folder of a run that is not started by a command; the layout of hydra.run.dir in conf/train.yaml."""
    name = folder_name(config.recipe.name, config.teacher.kind, model_label(config.model.name))
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")  # microseconds, as jobs may start in the same second
    return Path(config.output_dir) / "runs" / folder_name(config.task.name) / name / stamp


def _new_row(config: RunConfig) -> dict[str, Any]:
    return {
        "status": "failed",
        "error": None,
        "fingerprint": fingerprint(config),
        "cell": fingerprint(config, any_seed=True),
        "command": training_command(),
        "task": config.task.name,
        "model": config.model.name,
        "recipe": config.recipe.name,
        "teacher": config.teacher.label,
        "seed": config.seed,
        "settings": config.settings,
        "metrics": {},
        "test_metrics": {},
        "epochs": config.recipe.num_epochs,
        "pruning_epochs": 0.0,
        "pruned": False,
        "one_shot": False,
        "distilled": False,
        "quantized": False,
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def _count_resumption(folder: Path) -> int:
    """Times the run was resumed, this one included; kept in a file because it may be killed again."""
    path = folder / _RESUMED
    times = 1 + (int(path.read_text()) if path.is_file() else 0)
    write_atomically(path, str(times))
    return times
