"""Read a column of lists as flat arrays."""

from typing import Any

import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray


def flat_lists(split: Dataset, column: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The values of all lists in one array, ``(values,)``, and the length of each list, ``(rows,)``."""
    cells = split.with_format("arrow")[column][:]
    return pc.list_flatten(cells).to_numpy(), pc.list_value_length(cells).to_numpy()
