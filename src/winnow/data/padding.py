"""Rows of unequal lengths as the tensors of one batch."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def pad_batch(rows: Mapping[str, Sequence], fill: Mapping[str, int], multiple: int = 1) -> dict[str, Tensor]:
    """One tensor a column.

    Args:
        rows: column -> a value for each row.
        fill: the columns whose values are sequences of any length, with what fills them up on the right.
        multiple: the padded length is one of this number.

    Returns:
        ``(rows, longest)`` for the columns in ``fill``, int64; ``(rows, ...)`` for the others.
    """
    batch = {}
    for column, values in rows.items():
        if column not in fill:
            batch[column] = torch.tensor(values)
            continue
        longest = max(map(len, values))
        padded = np.full((len(values), longest + -longest % multiple), fill[column], dtype=np.int64)
        for row, value in zip(padded, values, strict=True):
            row[: len(value)] = value
        batch[column] = torch.from_numpy(padded)
    return batch
