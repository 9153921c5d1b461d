"""The run folder: result.json, written last and whole; finding and locking the run of a configuration."""

import json
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
from winnow.config.labels import model_label
from winnow.config.run import RunConfig
from winnow.errors import describe
from winnow.files.atomic import files_below, write_atomically
from winnow.files.locks import LOCK, BusyError, run_lock
from winnow.files.run_files import CHECKPOINTS, FINGERPRINT, RESOLVED, RESULT, ended_well, read_result, write_result
from winnow.processes import is_main_process

_RESUMED = Path(".hydra") / "resumed"  # how often
_EARLIER = ("checkpoints/last.ckpt", "checkpoints/previous.ckpt", "checkpoints/best.ckpt", "logs/metrics.csv", _RESUMED)
_RECORDED = ("config.yaml", "hydra.yaml", "overrides.yaml")  # by Hydra, of a training_command
_PACKAGES = ("torch", "pytorch-lightning", "transformers", "datasets", "torchmetrics", "hydra-core")


def clear(folder: Path) -> None:
    """Remove what an earlier run has left in a folder that another could take for its own."""
    for path in (RESULT, *_EARLIER):
        (folder / path).unlink(missing_ok=True)


@contextmanager
def recorded_run(folder: Path, config: RunConfig, resumed: bool = False) -> Iterator[dict[str, Any]]:
    """A run that ends with a result.json, well or not; no other training_command may run in its folder meanwhile.

    Args:
        folder: of the run; made if it is not there.
        config: of the run; its recipe is written to recipe.yaml, all of it to
            .hydra/, the
            account of a translation to translation.txt.
        resumed: a killed run goes on; otherwise the checkpoints of an earlier run in the folder are removed.

    Yields:
        The row of the results table, to be filled in. Of a data-parallel run the main process writes it.
    """
    if not is_main_process():
        yield {}
        return
    with run_lock(folder):
        if config.resume and ended_well(folder):
            raise BusyError(f"{folder}: another training_command has just ended the run in this folder.")
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
            with suppress(OSError):  # a full disk: the error that is on its way says so
                write_result(folder, row)
            raise
        row["status"] = "ok"
        write_result(folder, row)
        if not config.trainer.keep_checkpoints:
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def find_run(output_dir: Path, wanted: str) -> Path | None:
    """The newest good run with this fingerprint whose model is still there."""
    found = []
    for path in files_below(output_dir, RESULT):
        try:
            row = json.loads(path.read_text())
        except (ValueError, OSError):
            continue  # a damaged row is nobody's teacher
        whole = (path.parent / "model" / "config.json").is_file()
        if row.get("status") == "ok" and row.get("fingerprint") == wanted and whole:
            found.append(path)
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else None


def take_over(run: Path, folder: Path) -> None:
    """Make a folder a copy of a finished run; what the training_command has recorded of itself there stays."""
    for path in run.rglob("*"):
        target = folder / path.relative_to(run)
        recorded = path.parent.name == ".hydra" and path.name in _RECORDED
        logged = path.relative_to(run).parts[0] in ("wandb", "tensorboard")  # that of a run is its own
        if path.is_file() and path.name not in (RESULT, LOCK.name) and not recorded and not logged:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            _share(path, target)
    write_result(folder, read_result(run))


def _share(path: Path, target: Path) -> None:
    """One file in two places where it is large, is never written to, and the disk can do it; else a copy."""
    with suppress(OSError):
        if path.suffix in (".safetensors", ".ckpt", ".onnx"):
            os.link(path, target)
            return
    shutil.copy2(path, target)


def new_run_folder(config: RunConfig) -> Path:
    """Where a run that no training_command line names goes: the same layout as hydra.run.dir in conf/train.yaml."""
    name = f"{config.recipe.name}-{config.teacher.kind}-{model_label(config.model.name)}"
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")  # jobs may start in one second
    return Path(config.output_dir) / "runs" / config.task.name / name / stamp


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
    """How often the run has gone on, this time included; kept in a file, as it may be killed again."""
    path = folder / _RESUMED
    times = 1 + (int(path.read_text()) if path.is_file() else 0)
    write_atomically(path, str(times))
    return times
