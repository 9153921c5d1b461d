"""Where a row comes from, for messages: the file and line of a row that was read from a file."""

from datasets import Dataset

PLACE = "__place__"  # the column with the place of each row, such as "train.csv, line 7"


def place_of(split: Dataset, name: str, row: int) -> str:
    """The place of a row in words, such as ``train.csv, line 7`` or ``the train split, row 7``.

    Args:
        split: rows from files have the column `PLACE`; those of the hub and of generators have not.
        name: name of the split.
        row: counted from 0; the words count from 1.
    """
    if PLACE in split.column_names:
        return str(split.select_columns([PLACE])[row][PLACE])
    return f"the {name} split, row {row + 1}"
