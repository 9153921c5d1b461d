"""The run folder: result.json, written last and whole; finding and locking the run of a configuration."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import yaml
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from src.config import RESOLVED, fingerprint, model_label
from src.errors import UserError, describe, nearest

RESULT = "result.json"
FINGERPRINT = Path(".hydra") / "fingerprint"
_LOCK = Path(".hydra") / "lock"
_SECONDS_TO_DIE = 10  # loader processes of a killed run hold its lock until they notice
_RESUMED = Path(".hydra") / "resumed"  # how often
_EARLIER = ("checkpoints/last.ckpt", "checkpoints/previous.ckpt", "checkpoints/best.ckpt", "logs/metrics.csv", _RESUMED)
_PACKAGES = ("torch", "pytorch-lightning", "transformers", "datasets", "torchmetrics", "hydra-core")


def clear(folder: Path) -> None:
    """Remove what an earlier run has left in a folder that another could take for its own."""
    for path in (RESULT, *_EARLIER):
        (folder / path).unlink(missing_ok=True)


class BusyError(UserError):
    """A folder in which another command runs."""


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


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other command may run in a folder within it."""
    (folder / _LOCK).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, timeout=_SECONDS_TO_DIE)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"{folder}: another command runs in this folder; wait for it, or name another one.") from error
    try:
        yield
    finally:
        lock.release()


def is_running(folder: Path, patience: float = _SECONDS_TO_DIE) -> bool:
    """True if a command runs in this folder now.

    Args:
        folder: of a run.
        patience: seconds for which the processes of a killed run may hold its lock.
    """
    if not (folder / _LOCK).is_file():
        return False
    try:
        with FileLock(folder / _LOCK, timeout=patience):
            return False
    except Timeout:
        return True


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
    for path in output_dir.rglob(RESULT):
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
        recorded = path.parent.name == ".hydra" and target.is_file()
        logged = path.relative_to(run).parts[0] in ("wandb", "tensorboard")  # that of a run is its own
        if path.is_file() and path.name not in (RESULT, _LOCK.name) and not recorded and not logged:
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


@contextmanager
def only_one(output_dir: Path, name: str, waiting: str = "") -> Iterator[None]:
    """Hold a lock that the end of the process releases, however it ends.

    Args:
        waiting: is printed where another process holds it.
    """
    lock = lock_of(output_dir, name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(waiting, end="\n" if waiting else "", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def lock_of(output_dir: Path, name: str) -> FileLock:
    locks = output_dir / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{name}.lock")


def require_disk_space(folder: Path, bytes_needed: int) -> None:
    """Refuse to start a run whose files would not fit."""
    free = shutil.disk_usage(folder).free
    if free < bytes_needed:
        raise UserError(
            f"{folder}: the run writes up to {bytes_needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free; "
            "free some space, or name another place with hydra.run.dir=FOLDER."
        )


def save_folder(folder: Path, save: Callable[[Path], Any]) -> None:
    """Fill a folder that is there whole or not at all.

    Args:
        folder: replaced if it exists.
        save: writes into the folder it is given.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        save(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    with open_atomically(path) as file:
        file.write(text)


@contextmanager
def open_atomically(path: Path) -> Iterator[TextIO]:
    """A file to write to that is there once all has been written, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
