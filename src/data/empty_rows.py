"""Rows with an empty cell: refused, or left out where that is asked."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from src.errors import UserError


def without_empty_rows(split: Dataset, name: str, columns: Sequence[str], *, drop: bool) -> Dataset:
    """The split as it is, or without the rows in which one of the columns has nothing in it.

    Args:
        split: any rows.
        name: of the split, for messages.
        columns: in which a cell must not be missing, blank or not a number.
        drop: leave such rows out instead of refusing them.
    """
    empty: dict[int, str] = {}  # row -> the first empty column
    row = 0
    for rows in split.select_columns(list(columns)).iter(1000):
        for cells in zip(*(rows[column] for column in columns), strict=True):
            blank = next((c for c, cell in zip(columns, cells, strict=True) if _is_empty(cell)), None)
            if blank is not None:
                empty[row] = blank
            row += 1
    if not empty:
        return split
    first, column = next(iter(empty.items()))
    if not drop:
        raise UserError(
            f"the {name} split has {len(empty):,} of {len(split):,} rows with an empty cell, row {first + 1} "
            f"in column '{column}' the first; fill them, or leave them out with task.data.drop_empty=true."
        )
    if len(empty) == len(split):
        raise UserError(f"the {name} split has no row without an empty cell.")
    return split.select([i for i in range(len(split)) if i not in empty])


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value != value
