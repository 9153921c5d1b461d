"""Locks that are released when their process ends, even if it is killed: run locks and named locks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from winnow.errors import UserError

LOCK = Path(".hydra") / "lock"  # the run lock, in a run folder
_SECONDS_TO_DIE = 10  # data loader processes of a killed run keep its lock until they notice


class BusyError(UserError):
    """Another command is running in the folder."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the run lock of a folder, so that no other command runs in it."""
    (folder / LOCK).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=_SECONDS_TO_DIE)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"{folder}: another command runs in this folder; wait for it, or choose another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_running(folder: Path, patience: float = _SECONDS_TO_DIE) -> bool:
    """True if a command is running in this folder.

    Args:
        folder: of a run.
        patience: seconds to wait for processes of a killed run that still hold its lock.
    """
    try:
        if (folder / LOCK).is_file():
            with FileLock(folder / LOCK, timeout=patience):
                pass
    except Timeout:
        return True
    except OSError:  # another user's folder or a read-only disk: no command of this user runs in it
        pass
    return False


@contextmanager
def named_lock(output_dir: Path, name: str, waiting: str = "") -> Iterator[None]:
    """Hold a lock that all commands with the same output folder share.

    Args:
        name: of the lock, such as the fingerprint of a teacher.
        waiting: message to print if another process holds the lock.
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
