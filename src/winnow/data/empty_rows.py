"""Rows with an empty cell: an error, or left out where the user asks for it."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

from winnow.data.places import place_of
from winnow.errors import UserError


def without_empty_rows(split: Dataset, name: str, columns: Mapping[str, bool], *, drop: bool) -> Dataset:
    """The split without the rows that have an empty cell in one of the columns.

    Args:
        split: any rows.
        name: name of the split, for error messages.
        columns: the columns to check. A cell is empty if it is missing or NaN; where the value is True, also if it is
            a string of blanks.
        drop: leave such rows out; False raises an error for them.
    """
    empty = {column: _empty_cells(split, column, blank=blank) for column, blank in columns.items()}
    rows = np.any(list(empty.values()), axis=0)  # (rows,)
    if not rows.any():
        return split
    if not drop:
        first = int(rows.argmax())
        column = next(column for column, cells in empty.items() if cells[first])
        raise UserError(
            f"the {name} split has {rows.sum():,} of {len(rows):,} rows with an empty cell; the first is in column "
            f"'{column}' of {place_of(split, name, first)}. Fill them, or leave them out with "
            "task.data.drop_empty=true."
        )
    if rows.all():
        raise UserError(f"every row of the {name} split has an empty cell; name other files or columns.")
    return split.select(np.flatnonzero(~rows))


def _empty_cells(split: Dataset, column: str, *, blank: bool) -> NDArray[np.bool_]:
    """``(rows,)``, True where the value is missing or NaN or, with ``blank``, a string of blanks."""
    parts = []
    for table in split.select_columns([column]).with_format("arrow").iter(10_000):
        cells = table[column]
        empty = pc.is_null(cells, nan_is_null=True)
        if blank and (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
            empty = pc.or_(empty, pc.fill_null(pc.equal(pc.utf8_trim_whitespace(cells), ""), True))
        parts.append(empty.to_numpy())
    return np.concatenate(parts)
