"""A model's outputs for every row of a split: raw numbers in a file that is mapped into memory, and a JSON header."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

HEADER, NUMBERS = "header.json", "outputs.bin"


@dataclass(frozen=True)
class Layout:
    """How outputs lie in the file, ``(positions, numbers)``: those of all rows one after another, without padding.

    Args:
        shapes: of each output at one position, by name.
        per_token: a row has a position for each of its tokens, else one.
        dtype: float32 or float16.
    """

    shapes: dict[str, list[int]]
    per_token: bool
    dtype: str

    @classmethod
    def of(cls, outputs: Mapping[str, Tensor], *, per_token: bool, dtype: str) -> "Layout":
        """For outputs such as those of a batch."""
        leading = 2 if per_token else 1
        return cls({name: list(values.shape[leading:]) for name, values in outputs.items()}, per_token, dtype)

    @property
    def sizes(self) -> list[int]:
        """Numbers of each output at one position."""
        return [math.prod(shape) for shape in self.shapes.values()]

    @property
    def bytes_per_position(self) -> int:
        return sum(self.sizes) * np.dtype(self.dtype).itemsize

    def positions(self, lengths: Sequence[int]) -> np.ndarray:
        """How many each row has, given its length in tokens; ``(rows,)``."""
        return np.asarray(lengths, dtype=np.int64) if self.per_token else np.ones(len(lengths), dtype=np.int64)

    def bytes(self, lengths: Sequence[int]) -> int:
        return int(self.positions(lengths).sum()) * self.bytes_per_position


class StoredOutputs:
    """What `write_outputs` has written, for batches of any rows.

    Args:
        folder: of the two files.
        lengths: of each row in tokens.

    Raises:
        ValueError: if the files are not as they were written.
    """

    def __init__(self, folder: Path, lengths: Sequence[int]) -> None:
        self.folder = folder
        try:
            self.header: dict[str, Any] = json.loads((folder / HEADER).read_text())
            self.layout = Layout(**self.header["layout"])
            self.rows = len(lengths)
            self.bytes = self.layout.bytes(lengths)
            self._positions = self.layout.positions(lengths)
            self._ends = np.cumsum(self._positions)
            if _checksum(folder / NUMBERS, self.layout) != self.header["sha256"]:
                raise ValueError("its checksum is another")
            shape = (int(self._ends[-1]), sum(self.layout.sizes))
            self._numbers = np.memmap(folder / NUMBERS, dtype=self.layout.dtype, mode="r", shape=shape)
        except (OSError, KeyError, TypeError) as error:
            raise ValueError(f"it cannot be read ({type(error).__name__})") from error

    def of(self, batch: Mapping[str, Tensor]) -> SimpleNamespace:
        """The outputs for a batch, in float32 and on its device; ``(batch, seq, ...)`` or ``(batch, ...)``.

        Args:
            batch: ``row`` says which rows it has, ``attention_mask`` how far it is padded; zeros stand for padding.
        """
        rows, device = batch["row"].tolist(), batch["row"].device
        width = (batch["attention_mask"].shape[1],) if self.layout.per_token else ()
        found = np.zeros((len(rows), *(width or (1,)), self._numbers.shape[1]), dtype=np.float32)
        for values, row in zip(found, rows, strict=True):
            end, positions = self._ends[row], self._positions[row]
            values[:positions] = self._numbers[end - positions : end]
        parts = torch.from_numpy(found).to(device).split(self.layout.sizes, dim=-1)
        shapes = self.layout.shapes.items()
        return SimpleNamespace(
            **{name: part.reshape(len(rows), *width, *shape) for (name, shape), part in zip(shapes, parts, strict=True)}
        )


def write_outputs(
    folder: Path,
    said: Iterable[tuple[Sequence[int], SimpleNamespace]],
    lengths: Sequence[int],
    layout: Layout,
    **facts: Any,
) -> None:
    """Fill a folder.

    Args:
        folder: that exists.
        said: rows and the outputs for them, padded; every row is there, in any order.
        lengths: of each row in tokens.
        layout: of the file.
        facts: what else the header should say; JSON values.
    """
    positions = layout.positions(lengths)
    ends, rows_written = np.cumsum(positions), 0
    with (folder / NUMBERS).open("w+b") as file:  # a file that is mapped into memory kills who writes to a full disk
        for rows, outputs in said:
            named = zip(layout.shapes, layout.sizes, strict=True)
            parts = [getattr(outputs, name).reshape(len(rows), -1, size) for name, size in named]
            values = torch.cat(parts, dim=-1).cpu().numpy().astype(layout.dtype)  # (rows, positions, numbers)
            for row, value in zip(rows, values, strict=True):
                file.seek(int(ends[row] - positions[row]) * layout.bytes_per_position)
                file.write(value[: positions[row]].tobytes())
            rows_written += len(rows)
    assert rows_written == len(positions), f"outputs for {rows_written} of {len(positions)} rows"
    header = {**facts, "layout": asdict(layout), "rows": rows_written, "sha256": _checksum(folder / NUMBERS, layout)}
    (folder / HEADER).write_text(json.dumps(header, indent=2) + "\n")


def _checksum(path: Path, layout: Layout) -> str:
    """Of the numbers and of how they are to be read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(asdict(layout)).encode())
    return digest.hexdigest()
