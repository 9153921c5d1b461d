"""Atomic writes: a file or a folder appears completely written, or not at all."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from winnow.errors import UserError
from winnow.files.json_text import json_text

PARTIAL = ".partial"  # the suffix of an unfinished file or folder


def require_disk_space(
    folder: Path,
    bytes_needed: int,
    what: str = "the run writes",
    remedy: str = "or choose another folder with hydra.run.dir=FOLDER",
) -> None:
    """Refuse to write what would not fit on the disk."""
    free = shutil.disk_usage(folder).free
    if free < bytes_needed:
        raise UserError(
            f"{folder}: {what} up to {bytes_needed / 1e6:,.0f} MB, but only {free / 1e6:,.0f} MB are free; "
            f"free some space, {remedy}."
        )


def save_folder(folder: Path, save: Callable[[Path], Any]) -> None:
    """Write a folder atomically.

    Args:
        folder: replaced if it exists.
        save: writes the files into a temporary folder, its argument.
    """
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        save(partial)
        for file in complete_files(partial):  # safetensors gives its files no permission for others
            file.chmod(partial.stat().st_mode & 0o666)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_unfinished(run: Path) -> None:
    """Remove the unfinished files and folders that killed processes have left in a run folder.

    Args:
        run: the folder; no other command runs in it.
    """
    for path in (*run.glob(f"*{PARTIAL}"), *run.glob(f"*/*{PARTIAL}")):
        in_another_run = path.parent != run and (path.parent / ".hydra").is_dir()
        if in_another_run or _is_being_written(path):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_being_written(partial: Path) -> bool:
    """True if the process whose id is in the name is alive."""
    process = partial.stem.rpartition(".")[2]
    if not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def files_below(folder: Path, name: str) -> Iterator[Path]:
    """All files with a name; unlike `Path.rglob` it survives a folder that another process removes meanwhile."""
    return (Path(here) / name for here, _, files in os.walk(folder) if name in files)


def complete_files(folder: Path) -> Iterator[Path]:
    """All files except those that another process is writing; like `files_below` in a folder that is removed."""
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(PARTIAL)]
        yield from (Path(here) / name for name in files if not name.endswith(PARTIAL))


def write_atomically(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with open_atomically(path) as file:
        file.write(text)


@contextmanager
def open_atomically(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """Open a text file for writing; it appears when the block ends without an error.

    Args:
        path: replaced if it exists; its folder is created.
        newline: as in `open`.
    """
    with replaced_atomically(path) as partial, partial.open("w", encoding="utf-8", newline=newline) as file:
        yield file


@contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """The path of an unfinished file to write; it replaces ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")  # another process may write the same file
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def compact_json(content: list[Any] | dict[str, Any]) -> str:
    """JSON with one line for each example, so that people can read and search it."""
    if isinstance(content, dict):
        lines = [f"{_json(key)}: {_json(value)}" for key, value in content.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"
    return "[\n" + ",\n".join(map(_json, content)) + "\n]\n"


def _json(value: Any) -> str:
    return json_text(value, ensure_ascii=False)
