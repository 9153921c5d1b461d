"""Pad rows of unequal lengths into the tensors of one batch."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from winnow.data.batch import Columns


def pad_batch(rows: Columns, padding_values: Mapping[str, int], multiple: int = 1) -> dict[str, Tensor]:
    """Build one tensor for each column.

    Args:
        rows: column -> one value for each row.
        padding_values: the columns of sequences -> the value that pads them on the right.
        multiple: the padded length is a multiple of this number.

    Returns:
        ``(rows, longest)``, int64, for the columns in ``padding_values``; ``(rows, ...)`` for the others.
    """
    batch = {}
    for column, values in rows.items():
        if column not in padding_values:
            batch[column] = torch.tensor(values)
            continue
        longest = max(map(len, values))
        padded = np.full((len(values), longest + -longest % multiple), padding_values[column], dtype=np.int64)
        for row, value in zip(padded, values, strict=True):
            row[: len(value)] = value
        batch[column] = torch.from_numpy(padded)
    return batch
