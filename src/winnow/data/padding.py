"""Pad rows of unequal lengths into arrays. It imports no torch; `winnow.data.batching.pad_batch` makes tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.data.batch import Columns


def pad_arrays(rows: Columns, padding_values: Mapping[str, int], multiple: int = 1) -> dict[str, NDArray[Any]]:
    """Build one array for each column.

    Args:
        rows: column -> one value for each row.
        padding_values: the columns of sequences -> the value that pads them on the right.
        multiple: the padded length is a multiple of this number.

    Returns:
        ``(rows, longest)``, int64, for the columns in ``padding_values``; ``(rows, ...)`` for the others.
    """
    return {
        column: padded(values, padding_values[column], multiple) if column in padding_values else np.asarray(values)
        for column, values in rows.items()
    }


def padded(values: Sequence[Any], fill: int, multiple: int) -> NDArray[np.int64]:
    """Sequences of numbers as one array, ``(rows, longest)``, whose length is a multiple of a number."""
    longest = max(map(len, values))
    array = np.full((len(values), longest + -longest % multiple), fill, dtype=np.int64)
    for row, value in zip(array, values, strict=True):
        row[: len(value)] = value
    return array
