"""Rows of unequal lengths as the tensors of one batch."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


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
            batch[column] = torch.as_tensor(values)
            continue
        sequences = [torch.tensor(value, dtype=torch.int64) for value in values]
        padded = pad_sequence(sequences, batch_first=True, padding_value=fill[column])
        missing = -padded.shape[1] % multiple
        batch[column] = torch.nn.functional.pad(padded, (0, missing), value=fill[column])
    return batch
