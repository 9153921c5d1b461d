"""Locks that are released when their process ends, even if it is killed: run locks and named locks."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from winnow.errors import UserError
from winnow.files.atomic import remove_unfinished

LOCK = Path(".hydra") / "lock"  # the run lock, in a run folder
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # of some network file systems
_SECONDS_TO_DIE = 10  # data loader processes of a killed run keep its lock until they notice


class BusyError(UserError):
    """Another command is running in the folder."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the run lock of a folder, so that no other command runs in it; what killed ones left half-written goes."""
    (folder / LOCK).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        _acquire(lock, _SECONDS_TO_DIE)
    except Timeout as error:
        raise BusyError(
            f"{folder}: another command runs in this folder; wait for it, or choose another folder."
        ) from error
    try:
        remove_unfinished(folder)
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
        _acquire(lock, 0)
    except Timeout:
        print(waiting, end="\n" if waiting else "", flush=True)
        _acquire(lock)
    try:
        yield
    finally:
        lock.release()


def lock_of(output_dir: Path, name: str) -> FileLock:
    locks = output_dir / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{name}.lock")


def _acquire(lock: FileLock, seconds: float = -1) -> None:
    """Wait for a lock, without a limit if ``seconds`` is negative; a disk without locks is a user's error."""
    try:
        lock.acquire(timeout=seconds)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise UserError(
            f"{lock.lock_file}: the disk has no file locks ({error.strerror}), without which two commands may write to "
            "one folder. Name a folder on a local disk, such as output_dir=FOLDER, or mount the disk with locks."
        ) from error
