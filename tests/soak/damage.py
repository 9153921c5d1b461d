"""Damage to a file, as a disk, a copy that was cut short or a hand does it."""

from collections.abc import Callable
from pathlib import Path
from random import Random

PAGE = 4096


def flip_bit(content: bytes, random: Random) -> bytes:
    place = random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :]


def cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def zero_page(content: bytes, random: Random) -> bytes:
    place = random.randrange(len(content)) // PAGE * PAGE
    return content[:place] + bytes(len(content[place : place + PAGE])) + content[place + PAGE :]


def empty(content: bytes, random: Random) -> bytes:
    return b""


_KINDS: dict[str, Callable[[bytes, Random], bytes]] = {
    "flipped bit": flip_bit,
    "cut short": cut,
    "page of zeros": zero_page,
    "emptied": empty,
}


def damage(path: Path, random: Random) -> str:
    """Change or remove a file; returns what was done to it."""
    content = path.read_bytes()
    kind = random.choice(["removed", *_KINDS])
    if kind == "removed" or not content:
        path.unlink()
        return "removed"
    changed = _KINDS[kind](content, random)
    if changed == content:  # zeros before
        kind, changed = "flipped bit", flip_bit(content, random)
    path.write_bytes(changed)
    return kind
