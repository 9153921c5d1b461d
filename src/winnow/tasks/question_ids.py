"""Ids of questions: one text for each, under which the prediction files have its answer."""

import sys
from collections.abc import Sequence
from functools import cache

from datasets import Dataset, Value

from winnow.data.places import place_of
from winnow.errors import UserError

ID = "__id__"  # the column of the ids, whatever the other columns are called


def with_ids(split: Dataset, name: str, column: str | None, *, scored: bool) -> Dataset:
    """The split with the column `ID`, texts that differ from each other, in place of a column of ids.

    Without that column, or where no row has an id, the ids are the numbers of the rows, counted from 0.

    Args:
        split: any rows.
        name: name of the split, for messages.
        column: column of the ids; None: there is none.
        scored: True: the answers are written to prediction files, so a note says which ids are not the user's.

    Raises:
        UserError: for the first row without an id where other rows have one.
    """
    if column is None:
        return split.add_column(ID, _row_numbers(split))
    ids = _texts(split, name, column)
    if not ids:
        _note(f"note: no row of the {name} split has an id in '{column}'; its ids are the row numbers, from 0.", scored)
        split = split.remove_columns([column] if column in split.column_names else [])
        return split.add_column(ID, _row_numbers(split))
    distinct = distinct_ids(ids)
    changed = [row for row, (old, new) in enumerate(zip(ids, distinct, strict=True)) if old != new]
    if changed:
        first = changed[0]
        _note(
            f"note: {len(changed):,} of {len(ids):,} ids of the {name} split repeat another one; predictions.json has "
            f"the second '{ids[first]}' ({place_of(split, name, first)}) as '{distinct[first]}'.",
            scored,
        )
    if not changed and split.features[column] == Value("string"):
        return split.rename_column(column, ID)
    return split.remove_columns([column]).add_column(ID, distinct)


def distinct_ids(ids: Sequence[str]) -> list[str]:
    """The ids; of equal ones the second gets #2 at its end, the third #3, or the next number that makes it a new id."""
    taken, numbers, distinct = set(ids), dict.fromkeys(ids, 0), []
    for each in ids:
        numbers[each] += 1
        if numbers[each] == 1:
            distinct.append(each)
            continue
        while f"{each}#{numbers[each]}" in taken:
            numbers[each] += 1
        distinct.append(f"{each}#{numbers[each]}")
        taken.add(distinct[-1])
    return distinct


def _texts(split: Dataset, name: str, column: str) -> list[str]:
    """The ids as texts; an empty list if no row has one."""
    if column not in split.column_names:
        return []
    ids = ["" if value is None else str(value) for value in split[column][:]]
    missing = [row for row, each in enumerate(ids) if not each.strip()]
    if len(missing) == len(ids):
        return []
    if missing:
        raise UserError(
            f"{place_of(split, name, missing[0])}: the question has no id in column '{column}'; give one to each "
            "question, or number them with task.data.id_column=null."
        )
    return ids


def _row_numbers(split: Dataset) -> list[str]:
    return [str(row) for row in range(len(split))]


@cache  # once, though the command may prepare the rows again for an export
def _note(text: str, scored: bool) -> None:
    if scored:
        print(text, file=sys.stderr)
