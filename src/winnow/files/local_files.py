"""Local data files and model folders, found and checked without importing anything heavy."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from winnow.errors import UserError, nearest
from winnow.files.checksums import find_damage
from winnow.files.run_files import RESULT

FORMATS = {  # suffix -> format
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
TEXT = ".txt"
PLAIN_TEXT = (TEXT, ".conll", ".bio", ".iob", ".iob2")
_ALIASES = re.compile(r"^(dev|valid|val|eval)(?=$|_)")  # of validation, also in dev_matched
_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)(?:-[0-9a-f]{16})?")  # train-00000-of-00002.parquet belongs to train
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


class SplitFiles(Protocol):
    """The files that are named one by one."""

    @property
    def splits(self) -> Mapping[str, str]: ...
    @property
    def unlabeled(self) -> str | None: ...


class DataPlaces(Protocol):
    """The settings of ``task.data`` that locate the data."""

    @property
    def path(self) -> str | None: ...
    @property
    def subset(self) -> str | None: ...
    @property
    def files(self) -> SplitFiles: ...
    @property
    def plain_text(self) -> str | None: ...
    @property
    def validation(self) -> Sequence[str]: ...


def local_files(data: DataPlaces) -> dict[str, list[Path]]:
    """The local files of each split; empty for hub data and generators.

    Raises:
        UserError: for a missing file or folder.
    """
    files = {split: Path(name) for split, name in data.files.splits.items()}
    if files:
        for split, path in files.items():
            check_data_file(path, f"task.data.files.{split}", data)
        return {split: [path] for split, path in files.items()}
    if data.path and Path(data.path).is_dir():
        part = Path(data.path, data.subset or "")  # a copy of a hub data set has a folder for each
        return _files_by_split(
            part if part.is_dir() else Path(data.path), formats(data), ("train", *data.validation, "test")
        )
    if data.path and Path(data.path).is_file():
        raise UserError(f"task.data.path={data.path} is a file; name it with task.data.files.train={data.path}.")
    if data.path and looks_local(data.path):
        raise UserError(f"task.data.path={data.path}: there is no such folder.{_nearest_file(Path(data.path))}")
    return {}


def unlabeled_file(data: DataPlaces) -> Path | None:
    """The file of texts without labels, if there is one.

    Raises:
        UserError: for a missing file.
    """
    if data.files.unlabeled is None:
        return None
    path = Path(data.files.unlabeled)
    check_is_file(path, "task.data.files.unlabeled")
    _check_format(path, formats(data) | {TEXT: "text"})
    return path


def check_data_file(path: Path, setting: str, data: DataPlaces) -> None:
    """Refuse a path that is no file of rows of a task; ``setting`` has the path."""
    check_is_file(path, setting)
    _check_format(path, formats(data))


def check_is_file(path: Path, setting: str) -> None:
    """Refuse a path that is no file, or a file without permission to read it.

    Args:
        path: as the user wrote it.
        setting: that has the path.
    """
    place = f"{setting}={path}"
    if path.is_file():
        if not os.access(path, os.R_OK):
            raise UserError(f"{place}: there is no permission to read the file; change it with chmod.")
    elif path.is_dir():
        raise UserError(f"{place} is a folder; name a file in it.")
    elif path.exists():
        raise UserError(f"{place} is a pipe or a device; write its content to a file first.")
    elif path.is_symlink():
        raise UserError(f"{place} is a link to {path.readlink()}, which does not exist.")
    else:
        raise UserError(f"{place}: there is no such file.{_nearest_file(path)}")


def formats(data: DataPlaces) -> dict[str, str]:
    """Suffix in lower case -> format of its files; plain text only for tasks that define how to read it."""
    return FORMATS | (dict.fromkeys(PLAIN_TEXT, data.plain_text) if data.plain_text else {})


def looks_local(name: str) -> bool:
    """True for a path on this machine, False for a name on the hub, which is ``name`` or ``owner/name``."""
    return Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1


def _files_by_split(folder: Path, known: Iterable[str], wanted: Sequence[str]) -> dict[str, list[Path]]:
    """The files of each split of a folder.

    Args:
        folder: with the files, or with folders that have them.
        known: suffixes.
        wanted: splits that are used; other files are not looked at.
    """
    by_split = _grouped(folder.glob("*"), known)
    if "train" not in by_split:  # the files are deeper, such as in data/
        by_split = _grouped(folder.rglob("*"), known)
        _check_not_saved_to_disk(folder, by_split)
    if not by_split:
        raise UserError(f"task.data.path={folder}: the folder holds no {', '.join(known)} files.")
    for split in wanted:
        folders = list(dict.fromkeys(str(path.parent) for path in by_split.get(split, ())))
        if len(folders) > 1:  # likely several data sets, whose rows must not be mixed
            raise UserError(
                f"task.data.path={folder}: {split} files are in {len(folders)} of its folders; name one of them, such "
                f"as task.data.path={folders[0]}."
            )
    for split in wanted:
        if split in by_split:
            _check_files(split, by_split[split])
    return by_split


def _check_not_saved_to_disk(folder: Path, by_split: Mapping[str, Sequence[Path]]) -> None:
    """Refuse a folder of `Dataset.save_to_disk`, whose rows are in .arrow files."""
    if "train" not in by_split and ("dataset_dict" in by_split or "state" in by_split):
        raise UserError(
            f"task.data.path={folder} was written by save_to_disk; write each split to a file instead, such as "
            "dataset['train'].to_parquet('train.parquet')."
        )


def _grouped(paths: Iterable[Path], known: Iterable[str]) -> dict[str, list[Path]]:
    """The files of each split; a split is one file, or all its shards."""
    by_split: dict[str, list[Path]] = {}
    for path in sorted(path for path in paths if path.suffix.lower() in known and path.is_file()):
        shard = _SHARD.fullmatch(path.stem)
        name = (shard[1] if shard else path.stem).lower()
        by_split.setdefault(_ALIASES.sub("validation", name), []).append(path)
    return by_split


def _check_files(split: str, paths: Sequence[Path]) -> None:
    """Refuse several files that are no shards of one split, and shards with one missing."""
    shards = [_SHARD.fullmatch(path.stem) for path in paths]
    for path, shard in zip(paths, shards, strict=True):
        if len(paths) > 1 and (shard is None or (path.suffix, *shard.group(1, 3)) != _kind_of_shard(paths[0])):
            raise UserError(
                f"{path.parent}: {paths[0].name} and {paths[1].name} both are {split} files; remove one of them, or "
                f"name the right one with task.data.files.{split}=FILE."
            )
    if shards[0] is not None and len(paths) < int(shards[0][3]):
        raise UserError(
            f"{paths[0].parent}: the {split} split has {int(shards[0][3])} files, as {paths[0].name} says, but only "
            f"{len(paths)} of them are there; copy the others too."
        )


def _kind_of_shard(path: Path) -> tuple[str, ...]:
    shard = _SHARD.fullmatch(path.stem)
    return (path.suffix, *shard.group(1, 3)) if shard else ()


def _check_format(path: Path, known: Iterable[str]) -> None:
    if path.suffix.lower() not in known:
        raise UserError(f"{path}: files must end in {', '.join(known)}.")


def _nearest_file(path: Path) -> str:
    return nearest(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])


def resolve_model_folder(name: str, setting: str = "model.name") -> Path:
    """The folder with config.json and weights: ``name`` itself, or the ``model`` folder of a run.

    Raises:
        UserError: if there is no such folder, it lacks the configuration or the weights, or a file in it is damaged.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        siblings = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
        raise UserError(f"{setting}={name}: there is no such folder.{nearest(folder.name, siblings)}")
    if not (folder / "config.json").is_file() and (folder / "model").is_dir():
        folder = folder / "model"
    if damage := model_damage(folder):
        raise UserError(f"{setting}={name}: {damage}.")
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{setting}={name}: it has no config.json; name a folder that save_pretrained wrote, or a finished run."
        )
    try:
        json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise UserError(f"{setting}={name}: config.json is damaged ({error}).") from error
    if not any((folder / weights).is_file() and (folder / weights).stat().st_size > 0 for weights in _WEIGHTS):
        raise UserError(f"{setting}={name}: the folder has no weights; one of {', '.join(_WEIGHTS[:3])} must be there.")
    for path in folder.glob("*.safetensors"):
        if not _is_whole(path):
            raise UserError(f"{setting}={name}: {path.name} is damaged or cut short; download or save it again.")
    return folder


def model_damage(folder: Path) -> str:
    """What is wrong with a saved model by the checksums of its files, with the remedy; '' where nothing is."""
    damage, run = find_damage(folder), folder.parent
    if damage and (run / RESULT).is_file():
        return f"{damage}; the training command of the run with resume=true hydra.run.dir={run} makes the model again"
    return damage and f"{damage}; copy the folder again"


def _is_whole(path: Path) -> bool:
    """True if a safetensors file has the length given in its header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            return False
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return False
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    return size == 8 + length + max(ends, default=0)
