"""A folder of cached entries, each a folder, that keeps within a limit: the least recently used go."""

import os
import shutil
from pathlib import Path

from filelock import Timeout

from winnow.files.locks import lock_of, named_lock

_ENTRIES = "teacher-" + "[0-9a-f]" * 16  # whatever else lies in the folder is left alone
_PARTIAL = ".partial"  # as `winnow.files.atomic.save_folder` calls what is not whole yet


def mark_used(entry: Path) -> None:
    os.utime(entry)


def keep_within(folder: Path, limit: int) -> None:
    """Remove the least recently used entries beyond ``limit`` bytes in all, and what killed processes left half made.

    An entry whose lock is held, by `named_lock` of the folder and its name, stays as it is.
    """
    with named_lock(folder, "room"):
        for partial in folder.glob(_ENTRIES + _PARTIAL):
            _remove(partial)
        total = 0
        for _, size, entry in sorted(map(_used, folder.glob(_ENTRIES)), reverse=True):
            total += size
            if total > limit:
                _remove(entry)


def _used(entry: Path) -> tuple[int, int, Path]:
    """When an entry was used last, and its bytes; nothing of one that is replaced by another just now."""
    try:
        return entry.stat().st_mtime_ns, sum(file.stat().st_size for file in entry.iterdir()), entry
    except FileNotFoundError:
        return 0, 0, entry


def _remove(entry: Path) -> None:
    lock = lock_of(entry.parent, entry.name.removesuffix(_PARTIAL))
    try:
        with lock.acquire(timeout=0):
            shutil.rmtree(entry, ignore_errors=True)  # it may be gone, or be another user's
    except Timeout:  # somebody is making or opening it
        pass
