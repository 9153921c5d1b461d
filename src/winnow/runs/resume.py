"""What a killed run goes on from: its newest checkpoint that is intact, in its own folder."""

import zipfile
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write

from winnow.config.fingerprint import differences, fingerprint
from winnow.config.run import RunConfig, saved_config
from winnow.errors import UserError
from winnow.files.atomic import files_below
from winnow.files.locks import is_running
from winnow.files.run_files import CHECKPOINTS, FINGERPRINT, LAST, PREVIOUS, ended_well
from winnow.processes import is_main_process
from winnow.runs.run_folder import clear


def run_to_resume(made: Path, config: RunConfig) -> tuple[Path, Path | None]:
    """The run that goes on, the one that the command names or else the newest unfinished one like it, or a new one.

    Args:
        made: the folder that Hydra has made for this command; it is removed where the run of another goes on.
        config: of the run.

    Returns:
        The folder of the run, and its newest intact checkpoint; None if it starts from the beginning or has finished.

    Raises:
        UserError: if the named folder holds a run of another configuration, or no checkpoint in it is intact.
    """
    if _is_named("hydra.run.dir="):
        folder, nothing = made, f"{made} has no checkpoint"
        _check_same_run(made, config)
    else:
        folder = find_unfinished(Path(config.output_dir), fingerprint(config)) or made
        nothing = f"{config.output_dir} has no unfinished run of this configuration with an intact checkpoint"
    finished = ended_well(folder)
    checkpoint = None if finished else intact_checkpoint(folder)
    if is_main_process():
        if folder != made:
            _hand_over(made, folder)
        if finished:
            print(f"resume=true: the run in {folder} has finished.")
        elif checkpoint:
            print(f"resume=true: the run in {folder} goes on from {checkpoint.name}.")
        else:
            print(f"resume=true: {nothing}, so this one starts from the beginning.")
    return folder, checkpoint


def job_to_resume(folder: Path, config: RunConfig) -> Path | None:
    """The newest intact checkpoint of a job of a sweep; None if it starts from the beginning, or has finished.

    A run of another configuration in its folder, or one whose checkpoints are all damaged, makes way for it.
    """
    path = folder / FINGERPRINT
    if not path.is_file() or path.read_text() != fingerprint(config):
        clear(folder)
    try:
        return None if ended_well(folder) else intact_checkpoint(folder)
    except UserError:
        return None


def intact_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run; None if it has none yet.

    Raises:
        UserError: if there are some and all are damaged.
    """
    paths = _checkpoints(folder)
    for path in paths:
        if is_intact(path):
            return path
        if is_main_process():
            print(f"note: {path} is damaged" + ("; the one before it is tried." if path != paths[-1] else "."))
    if paths:
        raise UserError(
            f"{folder}: no checkpoint is intact, so the run cannot go on; start it anew: the same command without "
            "resume=true."
        )
    return None


def is_intact(path: Path) -> bool:
    """True if a checkpoint can be opened and all of it has the checksums that were written with it."""
    import torch  # heavy, and only needed where there is a checkpoint

    try:
        torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        with zipfile.ZipFile(path) as file:
            # torch heeds both, zipfile does not: another size, or a bit that says folder, gives it other weights
            plain = all(e.file_size == e.compress_size and not e.external_attr for e in file.infolist())
            return plain and file.testzip() is None
    except Exception:  # a damaged file fails in many ways
        return False


def find_unfinished(output_dir: Path, wanted: str) -> Path | None:
    """The newest run with this fingerprint that has an intact checkpoint, no good end, and does not run now."""
    fingerprints = files_below(output_dir, FINGERPRINT.name)
    folders = [path.parent.parent for path in fingerprints if path.read_text() == wanted]
    for folder in sorted(filter(_checkpoints, folders), key=_saved_at, reverse=True):
        if not ended_well(folder) and any(map(is_intact, _checkpoints(folder))) and not is_running(folder):
            return folder
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """The newest first."""
    return [path for name in (LAST, PREVIOUS) if (path := folder / CHECKPOINTS / name).is_file()]


def _saved_at(folder: Path) -> float:
    return _checkpoints(folder)[0].stat().st_mtime


def _is_named(*settings: str) -> bool:
    return any(override.startswith(settings) for override in HydraConfig.get().overrides.hydra)


def _check_same_run(folder: Path, config: RunConfig) -> None:
    if not _checkpoints(folder) and not ended_well(folder):
        return
    path = folder / FINGERPRINT
    if path.is_file() and path.read_text() == fingerprint(config):
        return
    different = differences(saved_config(folder), config) or ["the content of its data or model files"]
    raise UserError(
        f"resume=true: {folder} holds another run; what differs: {'; '.join(different)}. Give the same settings, "
        "another folder, or leave resume=true out, which starts anew in this one."
    )


def _hand_over(made: Path, run: Path) -> None:
    """Move what Hydra has recorded of the command to the run that goes on, and leave no empty folder behind."""
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
