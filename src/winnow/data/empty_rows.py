"""Rows with an empty cell: refused, or left out where that is asked."""

from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset

from winnow.errors import UserError


def without_empty_rows(split: Dataset, name: str, columns: Mapping[str, bool], *, drop: bool) -> Dataset:
    """The split as it is, or without the rows in which one of the columns has nothing in it.

    Args:
        split: any rows.
        name: of the split, for messages.
        columns: in which a cell must not be missing or not a number; True: nor a string of blanks.
        drop: leave such rows out instead of refusing them.
    """
    empty = {column: _empty_cells(split, column, blank=blank) for column, blank in columns.items()}
    rows = np.any(list(empty.values()), axis=0)  # (rows,)
    if not rows.any():
        return split
    if not drop:
        first = int(rows.argmax())
        column = next(column for column, cells in empty.items() if cells[first])
        raise UserError(
            f"the {name} split has {rows.sum():,} of {len(rows):,} rows with an empty cell, row {first + 1} "
            f"in column '{column}' the first; fill them, or leave them out with task.data.drop_empty=true."
        )
    if rows.all():
        raise UserError(f"the {name} split has no row without an empty cell.")
    return split.select(np.flatnonzero(~rows))


def _empty_cells(split: Dataset, column: str, *, blank: bool) -> np.ndarray:
    """``(rows,)``, True where there is no value, not a number or, with ``blank``, a string of blanks."""
    parts = []
    for table in split.select_columns([column]).with_format("arrow").iter(10_000):
        cells = table[column]
        empty = pc.is_null(cells, nan_is_null=True)
        if blank and split.features[column].dtype in ("string", "large_string"):
            empty = pc.or_(empty, pc.fill_null(pc.equal(pc.utf8_trim_whitespace(cells), ""), True))
        parts.append(empty.to_numpy())
    return np.concatenate(parts)
