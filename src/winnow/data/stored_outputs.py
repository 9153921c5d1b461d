"""A model's outputs for every row of a split: raw numbers in a memory-mapped file, and a JSON header."""

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
from numpy.typing import NDArray
from torch import Tensor

from winnow.data.batch import Batch, ModelOutputs

HEADER, NUMBERS = "header.json", "outputs.bin"


@dataclass(frozen=True)
class Layout:
    """Layout of the file, ``(positions, numbers)``: the outputs of all rows one after another, without padding.

    Args:
        shapes: name of an output -> its shape at one position.
        per_token: a row has one position for each of its tokens; else a row has one position.
        dtype: float32 or float16.
    """

    shapes: dict[str, list[int]]
    per_token: bool
    dtype: str

    @classmethod
    def of(cls, outputs: Mapping[str, Tensor], *, per_token: bool, dtype: str) -> "Layout":
        """The layout for outputs with the shapes of one batch."""
        leading = 2 if per_token else 1
        return cls({name: list(values.shape[leading:]) for name, values in outputs.items()}, per_token, dtype)

    @property
    def sizes(self) -> list[int]:
        """Count of numbers of each output at one position."""
        return [math.prod(shape) for shape in self.shapes.values()]

    @property
    def bytes_per_position(self) -> int:
        return sum(self.sizes) * np.dtype(self.dtype).itemsize

    def positions(self, lengths: Sequence[int]) -> NDArray[np.int64]:
        """Count of positions of each row, ``(rows,)``, from its length in tokens."""
        return np.asarray(lengths, dtype=np.int64) if self.per_token else np.ones(len(lengths), dtype=np.int64)

    def bytes(self, lengths: Sequence[int]) -> int:
        return int(self.positions(lengths).sum()) * self.bytes_per_position


class StoredOutputs:
    """Reads what `write_outputs` has written, for batches of any rows.

    Args:
        folder: the folder with the two files.
        lengths: length of each row in tokens.

    Raises:
        ValueError: if a file is missing or was changed after it was written.
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
                raise ValueError("its checksum does not match")
            shape = (int(self._ends[-1]), sum(self.layout.sizes))
            self._numbers = np.memmap(folder / NUMBERS, dtype=self.layout.dtype, mode="r", shape=shape)
        except (OSError, KeyError, TypeError) as error:
            raise ValueError(f"it cannot be read ({type(error).__name__})") from error

    def of(self, batch: Batch) -> ModelOutputs:
        """The outputs for a batch, in float32 and on its device; ``(batch, seq, ...)`` or ``(batch, ...)``.

        Args:
            batch: ``row`` holds the row indices, ``attention_mask`` the padding; outputs are zero on padding.
        """
        rows, device = batch["row"].tolist(), batch["row"].device
        width = (batch["attention_mask"].shape[1],) if self.layout.per_token else ()
        values = np.zeros((len(rows), *(width or (1,)), self._numbers.shape[1]), dtype=np.float32)
        for row_values, row in zip(values, rows, strict=True):
            end, positions = self._ends[row], self._positions[row]
            row_values[:positions] = self._numbers[end - positions : end]
        parts = torch.split(torch.from_numpy(values).to(device), self.layout.sizes, dim=-1)
        shapes = self.layout.shapes.items()
        return SimpleNamespace(
            **{name: part.reshape(len(rows), *width, *shape) for (name, shape), part in zip(shapes, parts, strict=True)}
        )


def write_outputs(
    folder: Path,
    outputs: Iterable[tuple[Sequence[int], ModelOutputs]],
    lengths: Sequence[int],
    layout: Layout,
    **facts: Any,
) -> None:
    """Write the outputs of all rows and the header.

    Args:
        folder: an existing folder.
        outputs: row indices and the padded outputs for them; together every row once, in any order.
        lengths: length of each row in tokens.
        layout: layout of the file.
        facts: further entries of the header; JSON values.
    """
    positions = layout.positions(lengths)
    ends, rows_written = np.cumsum(positions), 0
    with (folder / NUMBERS).open("w+b") as file:  # writing to a memory map kills the process when the disk is full
        for rows, batch_outputs in outputs:
            named = zip(layout.shapes, layout.sizes, strict=True)
            parts = [getattr(batch_outputs, name).reshape(len(rows), -1, size) for name, size in named]
            values = torch.cat(parts, dim=-1).cpu().numpy().astype(layout.dtype)  # (rows, positions, numbers)
            for row, value in zip(rows, values, strict=True):
                file.seek(int(ends[row] - positions[row]) * layout.bytes_per_position)
                file.write(value[: positions[row]].tobytes())
            rows_written += len(rows)
    assert rows_written == len(positions), f"outputs for {rows_written} of {len(positions)} rows"
    header = {**facts, "layout": asdict(layout), "rows": rows_written, "sha256": _checksum(folder / NUMBERS, layout)}
    (folder / HEADER).write_text(json.dumps(header, indent=2) + "\n")


def _checksum(path: Path, layout: Layout) -> str:
    """SHA-256 of the numbers and their layout."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(asdict(layout)).encode())
    return digest.hexdigest()
