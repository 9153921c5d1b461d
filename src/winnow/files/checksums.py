"""SHA-256 of files."""

import hashlib
from functools import cache
from pathlib import Path


def sha256(path: Path) -> str:
    """The checksum of a file's content, in hexadecimal digits; computed once while the file stays as it is."""
    status = path.stat()
    # Size and time of change may be those of other content (cp -p, rsync -t, unzip); the time of the inode cannot.
    return _sha256_of(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@cache
def _sha256_of(path: Path, *state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
