"""What a model weighs on disk and in a download, in bytes."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from winnow.errors import UserError

LEVEL = 16  # of zstandard: int8 graphs come out as small as at 19, in a third of the time
_CHUNK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Size:
    """Bytes of some files, as they are and packed by zstandard."""

    raw: int
    compressed: int


def deployment_size(folder: Path) -> Size:
    """The graph of a deployment with its external data; tokenizer and configuration are not counted."""
    return size_of(_files(folder, "model.onnx*"))


def size_of(files: Iterable[Path], level: int = LEVEL) -> Size:
    """Each file is packed by itself; nothing larger than a chunk is held in memory beside the window of zstandard."""
    import zstandard

    raw = compressed = 0
    for path in files:
        # a fixed number of threads, so that sizes are alike everywhere
        compressor = zstandard.ZstdCompressor(level=level, threads=2)
        with path.open("rb") as source, open(os.devnull, "wb") as nowhere:
            counts = compressor.copy_stream(source, nowhere, size=path.stat().st_size, read_size=_CHUNK)
        raw, compressed = raw + counts[0], compressed + counts[1]
    return Size(raw, compressed)


def _files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise UserError(f"{folder} holds no {pattern}; name a folder that export or a training has written.")
    return found
