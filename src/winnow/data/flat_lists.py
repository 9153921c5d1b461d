"""A column of lists as plain arrays."""

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset


def flat_lists(split: Dataset, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of a column of lists one after another, ``(values,)``, and the length of each list, ``(rows,)``."""
    cells = split.with_format("arrow")[column][:]
    return pc.list_flatten(cells).to_numpy(), pc.list_value_length(cells).to_numpy()
