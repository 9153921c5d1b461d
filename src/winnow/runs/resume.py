"""Resuming: which run to resume, and its newest intact checkpoint."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write

from winnow.config.fingerprint import differences, fingerprint
from winnow.config.run import RunConfig, saved_config
from winnow.errors import UserError
from winnow.files.atomic import files_below
from winnow.files.checkpoint_files import check_best, is_intact
from winnow.files.checksums import find_damage
from winnow.files.locks import is_running
from winnow.files.run_files import BEST, CHECKPOINTS, FINGERPRINT, LAST, PREVIOUS, RESULT, ended_well, has_model
from winnow.processes import is_main_process
from winnow.runs.run_folder import clear


def run_to_resume(made: Path, config: RunConfig) -> tuple[Path, Path | None]:
    """Choose the run to resume: the named one, else the newest match, finished or not, else a new one.

    Args:
        made: the folder that Hydra made for this command; removed if the run in another folder is resumed.
        config: of the run.

    Returns:
        The folder of the run, and its newest intact checkpoint; None if it starts at step 0 or has finished.

    Raises:
        UserError: if the named folder holds another configuration, or its checkpoints are damaged.
    """
    if _is_overridden("hydra.run.dir="):
        folder, no_checkpoint = made, f"{made} has no checkpoint"
        _check_same_run(made, config)
    else:
        folder = find_resumable(Path(config.output_dir), fingerprint(config), finished=True) or made
        no_checkpoint = f"{config.output_dir} has no run of this configuration with an intact checkpoint or a model"
    damage = _damage_of_model(folder)
    finished = ended_well(folder) and not damage
    checkpoint = None if finished else intact_checkpoint(folder)
    if is_main_process():
        if folder != made:
            _move_record(made, folder)
        if damage:
            _make_again(folder, damage)
        if finished:
            print(f"resume=true: the run in {folder} has finished; the table has what it recorded.", flush=True)
        elif checkpoint:
            print(f"resume=true: the run in {folder} resumes from {checkpoint.name}.")
        else:
            print(f"resume=true: {no_checkpoint}, so this run starts at step 0.")
    return folder, checkpoint


def job_to_resume(folder: Path, config: RunConfig) -> Path | None:
    """The newest intact checkpoint of a job of a sweep; None if it starts at step 0 or has finished.

    A run of another configuration in the folder is removed; if all checkpoints are damaged, the job starts anew. A
    finished job whose model is damaged makes it again.
    """
    path = folder / FINGERPRINT
    if not path.is_file() or path.read_text() != fingerprint(config):
        clear(folder)
    if damage := _damage_of_model(folder):
        _make_again(folder, damage)
    try:
        return None if ended_well(folder) else intact_checkpoint(folder)
    except UserError:
        return None


def _damage_of_model(folder: Path) -> str:
    """What is wrong with the files of the model of a finished run; '' otherwise."""
    return find_damage(folder / "model") if ended_well(folder) else ""


def _make_again(folder: Path, damage: str) -> None:
    again = "; export it again too" if (folder / "deployment").is_dir() else ""
    print(f"note: {damage}, so the run makes its model again{again}.")
    (folder / RESULT).unlink()


def intact_checkpoint(folder: Path) -> Path | None:
    """The newest intact checkpoint of a run; None if there is no checkpoint.

    Raises:
        UserError: if all checkpoints are damaged, or that of the best model is.
    """
    paths, best = _checkpoints(folder), folder / CHECKPOINTS / BEST
    for path in paths:
        if is_intact(path):
            if best.is_file():
                check_best(best)
            return path
        if is_main_process():
            print(f"note: {path} is damaged" + ("; using the one before it." if path != paths[-1] else "."))
    if paths:
        raise UserError(
            f"{folder}: all checkpoints are damaged, so the run cannot be resumed; run the same command without "
            "resume=true to start anew."
        )
    return None


def find_resumable(output_dir: Path, wanted: str, finished: bool = False) -> Path | None:
    """The newest run with this fingerprint that has an intact checkpoint, has not finished and is not running.

    Args:
        output_dir: with run folders at any depth.
        wanted: fingerprint.
        finished: a run that has finished counts too, if its model still exists.
    """
    fingerprints = files_below(output_dir, FINGERPRINT.name)
    folders = [path.parent.parent for path in fingerprints if _text(path) == wanted]
    for folder in sorted(folders, key=_saved_at, reverse=True):
        if ended_well(folder):
            if finished and has_model(folder):
                return folder
        elif any(map(is_intact, _checkpoints(folder))) and not is_running(folder):
            return folder
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """The newest first."""
    return [path for name in (LAST, PREVIOUS) if (path := folder / CHECKPOINTS / name).is_file()]


def _text(path: Path) -> str:
    """Empty if another process has removed the file."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _saved_at(folder: Path) -> float:
    """Time of the result of a finished run, else of the newest checkpoint; 0 if another process has removed them."""
    paths = [folder / RESULT] if ended_well(folder) else _checkpoints(folder)
    try:
        return max((path.stat().st_mtime for path in paths), default=0.0)
    except FileNotFoundError:
        return 0.0


def _is_overridden(*settings: str) -> bool:
    return any(override.startswith(settings) for override in HydraConfig.get().overrides.hydra)


def _check_same_run(folder: Path, config: RunConfig) -> None:
    if not _checkpoints(folder) and not ended_well(folder):
        return
    path = folder / FINGERPRINT
    if path.is_file() and path.read_text() == fingerprint(config):
        return
    different = differences(saved_config(folder), config) or ["the content of its data or model files"]
    raise UserError(
        f"resume=true: {folder} holds another run; the difference: {'; '.join(different)}. Give the same settings "
        "or another folder; without resume=true the run starts anew in this folder."
    )


def _move_record(made: Path, run: Path) -> None:
    """Move Hydra's record of the command to the run that is resumed, and remove the empty folders."""
    for path in (made / ".hydra").glob("*.yaml"):
        path.replace(run / ".hydra" / path.name)
    for empty in (made / ".hydra", made, *made.parents):
        try:
            empty.rmdir()
        except OSError:
            break
    hydra_config: Any = HydraConfig.get()
    with read_write(hydra_config):  # the processes of a data-parallel run are started with this folder
        hydra_config.run.dir = hydra_config.runtime.output_dir = str(run.absolute())
