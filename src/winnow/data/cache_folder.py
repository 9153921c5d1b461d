"""A cache folder with a size limit: each entry is a folder, and the least recently used entries are removed."""

import os
import shutil
from pathlib import Path

from filelock import Timeout

from winnow.files.locks import lock_of, named_lock

_ENTRIES = "teacher-" + "[0-9a-f]" * 16  # everything else in the folder is kept
_PARTIAL = ".partial"  # the suffix of an unfinished folder in `winnow.files.atomic.save_folder`


def mark_used(entry: Path) -> None:
    os.utime(entry)


def keep_within(folder: Path, limit: int) -> None:
    """Remove the least recently used entries beyond ``limit`` bytes, and the partial entries of killed processes.

    An entry whose lock is held (`named_lock` of the folder and the entry's name) is kept.
    """
    with named_lock(folder, "room"):
        for partial in folder.glob(_ENTRIES + _PARTIAL):
            _remove(partial)
        total = 0
        for _, size, entry in sorted(map(_last_use_and_size, folder.glob(_ENTRIES)), reverse=True):
            total += size
            if total > limit:
                _remove(entry)


def _last_use_and_size(entry: Path) -> tuple[int, int, Path]:
    """Time of last use in nanoseconds, and bytes; zeros for an entry that another process is replacing."""
    try:
        return entry.stat().st_mtime_ns, sum(file.stat().st_size for file in entry.iterdir()), entry
    except FileNotFoundError:
        return 0, 0, entry


def _remove(entry: Path) -> None:
    lock = lock_of(entry.parent, entry.name.removesuffix(_PARTIAL))
    try:
        with lock.acquire(timeout=0):
            shutil.rmtree(entry, ignore_errors=True)  # already removed, or owned by another user
    except Timeout:  # another process writes or opens it
        pass
