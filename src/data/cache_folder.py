"""A folder of cached entries, each a folder, that keeps within a limit: the least recently used go."""

import os
import shutil
from pathlib import Path

from filelock import Timeout

from src.run_folder import lock_of, only_one

_PARTIAL = ".partial"  # as `src.run_folder.save_folder` calls what is not whole yet


def mark_used(entry: Path) -> None:
    os.utime(entry)


def keep_within(folder: Path, limit: int) -> None:
    """Remove the least recently used entries beyond ``limit`` bytes in all, and what killed processes left half made.

    An entry whose lock is held, by `only_one` of the folder and its name, stays as it is.
    """
    with only_one(folder, "room"):
        total = 0
        for entry in sorted(filter(Path.is_dir, folder.glob("[!.]*")), key=_used_at, reverse=True):
            partial = entry.suffix == _PARTIAL
            total += 0 if partial else sum(file.stat().st_size for file in entry.iterdir())
            if partial or total > limit:
                _remove(entry)


def _used_at(entry: Path) -> int:
    return entry.stat().st_mtime_ns


def _remove(entry: Path) -> None:
    lock = lock_of(entry.parent, entry.name.removesuffix(_PARTIAL))
    try:
        with lock.acquire(timeout=0):
            shutil.rmtree(entry)
    except Timeout:
        pass
