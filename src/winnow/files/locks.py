"""Locks that the end of a process releases, however it ends: of a run folder, and of what several commands want."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from winnow.errors import UserError

LOCK = Path(".hydra") / "lock"  # of a run, in its folder
_SECONDS_TO_DIE = 10  # loader processes of a killed run hold its lock until they notice


class BusyError(UserError):
    """A folder in which another command runs."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """No other command may run in a folder within it."""
    (folder / LOCK).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=_SECONDS_TO_DIE)
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
    try:
        if (folder / LOCK).is_file():
            with FileLock(folder / LOCK, timeout=patience):
                pass
    except Timeout:
        return True
    except OSError:  # another user's folder, a disk that is read-only: no command of ours is in it
        pass
    return False


@contextmanager
def named_lock(output_dir: Path, name: str, waiting: str = "") -> Iterator[None]:
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
