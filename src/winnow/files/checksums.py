"""SHA-256 of files, and the list of those of a folder, which ``sha256sum -c SHA256SUMS`` checks too."""

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

SUMS = "SHA256SUMS"
CARD = "README.md"  # not in the list: an export writes it again, and people edit it
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_ON_PURPOSE = f" (if this is a change on purpose, delete {SUMS})"
_ALWAYS = "config.json"  # in every folder with a list; its line is the last one, so a list that was cut short lacks it


def sha256(path: Path) -> str:
    """The checksum of a file's content, in hexadecimal digits; computed once while the file stays as it is."""
    status = path.stat()
    # Size and time of change may be those of other content (cp -p, rsync -t, unzip); the time of the inode cannot.
    return _sha256_of(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@cache
def _sha256_of(path: Path, *state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path) -> None:
    """List the checksums of all files of a folder but its card, which is then complete, in its SHA256SUMS."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in (SUMS, CARD)]
    names = [str(path.relative_to(folder)) for path in paths]
    names.sort(key=lambda name: (name == _ALWAYS, name))
    (folder / SUMS).write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in names), encoding="utf-8")


def find_damage(folder: Path, is_read: Callable[[str], bool] = lambda name: True) -> str:
    """What is wrong with the first file that differs from the SHA256SUMS of its folder; '' if none does.

    Args:
        folder: without a list nothing is checked; a file that is not in the list was added later, and is no damage.
        is_read: True for the names of the files to check.
    """
    if not (folder / SUMS).is_file():
        return ""
    sums = listed_sums(folder)
    if _ALWAYS not in sums:
        return f"{folder / SUMS} is damaged{_ON_PURPOSE}"
    for name in filter(is_read, sums):
        if fault := _fault(folder / name, sums[name]):
            return f"{folder / name} {fault}{_ON_PURPOSE}"
    return ""


def listed_sums(folder: Path) -> dict[str, str]:
    """The checksum of each file in the SHA256SUMS of a folder; empty if the list is damaged."""
    text = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    lines = [_LINE.fullmatch(line) for line in text.removesuffix("\n").split("\n")]
    return {} if None in lines else {line[2]: line[1] for line in lines if line is not None}


def _fault(path: Path, checksum: str) -> str:
    try:
        return "" if sha256(path) == checksum else f"is damaged: its SHA-256 is not that in {SUMS}"
    except OSError as error:
        return f"is missing or cannot be read: {error.strerror}"
