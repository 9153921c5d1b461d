"""What a model weighs on disk and in a download, in bytes."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from src.errors import UserError

LEVEL = 19  # of zstandard: what a download that is packed once and fetched often would use
_CHUNK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Size:
    """Bytes of some files, as they are and packed by zstandard."""

    raw: int
    compressed: int


def deployment_size(folder: Path) -> Size:
    """The graph of a deployment with its external data; tokenizer and configuration are not counted."""
    return size_of(_files(folder, "model.onnx*"))


def weights_size(folder: Path) -> Size:
    """The weights of a Hugging Face folder, all parts of them: ``model/`` of a run."""
    return size_of(_files(folder, "model*.safetensors"))


def size_of(files: Iterable[Path], level: int = LEVEL) -> Size:
    """Each file is packed by itself; nothing larger than a chunk is held in memory beside the window of zstandard."""
    import zstandard

    sizes = []
    for path in files:
        packed = _Counter()
        # Packing in two threads gives the same bytes on every machine, whatever its number of cores.
        compressor = zstandard.ZstdCompressor(level=level, threads=2)
        with path.open("rb") as source:
            compressor.copy_stream(source, packed, size=path.stat().st_size, read_size=_CHUNK)
        sizes.append(Size(path.stat().st_size, packed.bytes))
    return Size(sum(size.raw for size in sizes), sum(size.compressed for size in sizes))


class _Counter(io.RawIOBase):
    """A file that is not kept, only counted."""

    bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.bytes += len(data)
        return len(data)


def _files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise UserError(f"{folder} holds no {pattern}; name a folder that export or a training has written.")
    return found
