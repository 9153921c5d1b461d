"""The run folder: result.json, written last and whole; finding and locking the run of a configuration."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from src.config import RESOLVED, fingerprint, model_label
from src.errors import UserError, describe, nearest
from src.locks import LOCK, BusyError, alone
from src.whole_files import files_below, write_atomically

RESULT = "result.json"
FINGERPRINT = Path(".hydra") / "fingerprint"
CHECKPOINTS = "checkpoints"
_RESUMED = Path(".hydra") / "resumed"  # how often
_EARLIER = ("checkpoints/last.ckpt", "checkpoints/previous.ckpt", "checkpoints/best.ckpt", "logs/metrics.csv", _RESUMED)
_RECORDED = ("config.yaml", "hydra.yaml", "overrides.yaml")  # by Hydra, of a command
_PACKAGES = ("torch", "pytorch-lightning", "transformers", "datasets", "torchmetrics", "hydra-core")


def clear(folder: Path) -> None:
    """Remove what an earlier run has left in a folder that another could take for its own."""
    for path in (RESULT, *_EARLIER):
        (folder / path).unlink(missing_ok=True)


@contextmanager
def recorded_run(folder: Path, config: Mapping[str, Any], resumed: bool = False) -> Iterator[dict[str, Any]]:
    """A run that ends with a result.json, well or not; no other command may run in its folder meanwhile.

    Args:
        folder: of the run; made if it is not there.
        config: as `src.config.resolve` returns it; its recipe is written to recipe.yaml, all of it to .hydra/, the
            account of a translation to translation.txt.
        resumed: a killed run goes on; otherwise the checkpoints of an earlier run in the folder are removed.

    Yields:
        The row of the results table, to be filled in. Of a data-parallel run the main process writes it.
    """
    if not is_main_process():
        yield {}
        return
    with alone(folder):
        if config["resume"] and ended_well(folder):
            raise BusyError(f"{folder}: another command has just ended the run in this folder.")
        (folder / RESULT).unlink(missing_ok=True)
        if not resumed:
            clear(folder)
        row = _new_row(config)
        row["resumed"] = _count_resumption(folder) if resumed else 0
        write_atomically(folder / "recipe.yaml", yaml.safe_dump(dict(config["recipe"]), sort_keys=False))
        write_atomically(folder / RESOLVED, yaml.safe_dump(dict(config), sort_keys=False))
        if "translation" in config:
            write_atomically(folder / "translation.txt", config["translation"]["report"])
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
        if not config["trainer"]["keep_checkpoints"]:
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def ended_well(folder: Path) -> bool:
    try:
        return json.loads((folder / RESULT).read_text())["status"] == "ok"
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_good(row: Any) -> bool:
    """True for the row of a run of which nothing failed, its export neither."""
    return isinstance(row, dict) and row.get("status") == "ok" and not row.get("error")


def is_main_process() -> bool:
    """False in the other processes of a data-parallel run, whatever started them."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


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
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}).") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration of a run."""
    path = folder / RESOLVED
    if not path.is_file():
        raise UserError(f"run={folder}: {path} is missing, so nothing says how the run was configured.")
    return yaml.safe_load(path.read_text())


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
    """Make a folder a copy of a finished run; what the command has recorded of itself there stays."""
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


def new_run_folder(config: Mapping[str, Any]) -> Path:
    """Where a run that no command line names goes: the same layout as hydra.run.dir in conf/train.yaml."""
    name = f"{config['recipe']['name']}-{config['teacher']['kind']}-{model_label(config['model']['name'])}"
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")  # jobs may start in one second
    return Path(config["output_dir"]) / "runs" / config["task"]["name"] / name / stamp


def command() -> str:
    """The command line of this run; of a job of a sweep its own."""
    arguments = sys.argv[1:]
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        arguments = list(HydraConfig.get().overrides.task)
    return shlex.join(["python", "-m", "src.train", *arguments])


def _new_row(config: Mapping[str, Any]) -> dict[str, Any]:
    teacher = config["teacher"]
    return {
        "status": "failed",
        "error": None,
        "fingerprint": fingerprint(config),
        "cell": fingerprint({**config, "seed": None}),
        "command": command(),
        "task": config["task"]["name"],
        "model": config["model"]["name"],
        "recipe": config["recipe"]["name"],
        "teacher": teacher["name"] if teacher["kind"] == "checkpoint" else teacher["kind"],
        "seed": config["seed"],
        "settings": config.get("settings", {}),
        "metrics": {},
        "test_metrics": {},
        "epochs": config["recipe"]["num_epochs"],
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


def write_result(folder: Path, row: Mapping[str, Any]) -> None:
    """Write result.json, whole or not at all."""
    write_atomically(folder / RESULT, json.dumps(row, indent=2) + "\n")
