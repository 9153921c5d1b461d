"""Check rows for a deployed model, whether they come from a file, a command line or Python, and find their texts."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np

from winnow.data.json_rows import native
from winnow.errors import UserError, nearest
from winnow.functional.printed import as_printed_list
from winnow.tasks.predictor import Predictor
from winnow.text import truncated

OPTIONAL = "id"  # a column to keep that rows need not have
_PRINTED_LIST = re.compile(r"""\s*\[\s*['"].*\]\s*""", re.DOTALL)
_PANDAS_MISSING = ("NAType", "NaTType")  # pandas.NA and pandas.NaT; pandas is not imported for them


@dataclass
class RowFormat:
    """What a row must contain, and what of it the answer repeats.

    Args:
        columns: name of a text -> columns that may contain it; the first one of a row counts.
        word_lists: whether a text may be a list of words.
        repeated: names of the texts that the answer repeats.
        keep: columns to copy to the answer, which the first row must have, except `OPTIONAL`; None: all.
        drop_empty: skip rows with an empty text instead of refusing them.
    """

    columns: Mapping[str, Sequence[str]]
    word_lists: bool
    repeated: Sequence[str]
    keep: Sequence[str] | None = (OPTIONAL,)
    drop_empty: bool = False

    @classmethod
    def of(
        cls,
        task: Predictor,
        text_columns: Sequence[str] | None = None,
        *,
        keep: Sequence[str] | None = (OPTIONAL,),
        drop_empty: bool = False,
    ) -> "RowFormat":
        """The format for a task; without ``text_columns``, texts have the columns of training or their own names.

        If all columns are kept, those of the texts are among them, so the answer does not repeat the texts.
        """
        if text_columns and len(text_columns) != len(task.input_fields):
            needed = " and ".join(task.input_fields)
            raise UserError(
                f"text_columns must name {len(task.input_fields)} columns, for {needed}; got {', '.join(text_columns)}."
            )
        default = zip(task.text_columns, task.input_fields, strict=True)
        places = [(column,) for column in text_columns] if text_columns else [tuple(dict.fromkeys(p)) for p in default]
        return cls(
            columns=dict(zip(task.input_fields, places, strict=True)),
            word_lists=task.accepts_word_lists,
            repeated=() if keep is None else [f for f in task.input_fields if f not in task.unrepeated_fields],
            keep=keep,
            drop_empty=drop_empty,
        )

    @property
    def first_column(self) -> str:
        """The column of the first text."""
        return next(iter(self.columns.values()))[0]


@dataclass
class CheckedRow:
    """A row for a model.

    Args:
        kept: column -> cell, of the columns to copy to the answer. A column is left out if the answer repeats its text
            under its name.
        texts: by name, each a text or a list of words.
    """

    kept: dict[str, Any]
    texts: dict[str, Any]


def checked_rows(rows: Iterable[tuple[str, Any]], row_format: RowFormat) -> Iterator[CheckedRow]:
    """Each row with its kept columns and its texts.

    Args:
        rows: the location of each row, for messages, and a mapping, or a text.
        row_format: of all rows.

    Raises:
        UserError: for a row without a text, with an empty one, or with a value of another type; for a first row without
            a column to keep.
    """
    for number, (where, row) in enumerate(rows):
        cells = row if isinstance(row, Mapping) else {next(iter(row_format.columns)): row}
        if number == 0:
            _check_kept_columns(cells, row_format.keep or (), where)
        columns = {name: _column(cells, places, where) for name, places in row_format.columns.items()}
        given = {name: cells[column] for name, column in columns.items()}
        if row_format.word_lists:
            given = {name: _read_list(cell, f"{where}: {name}") for name, cell in given.items()}
        empty = [what for name, cell in given.items() if (what := _empty_part(cell, name, row_format.word_lists))]
        if empty and row_format.drop_empty:
            continue
        if empty:
            raise UserError(f"{where}: {empty[0]} is empty; fill it, or skip such rows with drop_empty=true.")
        texts = {name: _text(cell, f"{where}: {name}", row_format.word_lists) for name, cell in given.items()}
        yield CheckedRow(_kept(cells, columns, row_format, where), texts)


def _check_kept_columns(cells: Mapping[str, Any], keep: Sequence[str], where: str) -> None:
    for column in keep:
        if column not in cells and column != OPTIONAL:
            found = ", ".join(map(str, cells))
            raise UserError(
                f"{where}: there is no column '{column}' to keep, only {found}; correct keep=.{nearest(column, cells)}"
            )


def _column(cells: Mapping[str, Any], places: Sequence[str], where: str) -> str:
    """The column that contains a text."""
    for column in places:
        if column in cells:
            return column
    names, found = " or ".join(f"'{column}'" for column in places), ", ".join(map(str, cells))
    raise UserError(
        f"{where}: there is no column {names}, only {found}; choose one with text_columns=NAME."
        f"{nearest(places[0], cells)}"
    )


def _read_list(cell: Any, where: str) -> Any:
    """The list that a text such as ``['in', 'Rome']`` prints, as training reads it; any other cell as it is."""
    if not isinstance(cell, str) or not _PRINTED_LIST.fullmatch(cell):
        return cell
    words = as_printed_list(cell)
    if words is None:
        raise UserError(
            f"{where} is no list as Python or JSON write it, such as ['in', 'Rome']: {truncated(cell, 40)}; correct it "
            "(numpy writes no commas: use .tolist() before writing the file)."
        )
    return words


def _empty_part(cell: Any, name: str, word_lists: bool) -> str | None:
    """What is empty: the text, or a word of a list; None if nothing is. A word of a list may be ''."""
    if isinstance(cell, list | tuple) and cell:
        words = cell if word_lists else ()
        return next((f"{name}: word {number}" for number, word in enumerate(words, start=1) if _is_missing(word)), None)
    is_empty = not cell.strip() if isinstance(cell, str) else isinstance(cell, list | tuple)
    return name if is_empty or _is_missing(cell) else None


def _is_missing(cell: Any) -> bool:
    """True for None, NaN of every library, and the missing values of pandas."""
    return cell is None or type(cell).__name__ in _PANDAS_MISSING or (isinstance(cell, Number) and cell != cell)


def _text(cell: Any, where: str, word_lists: bool) -> str | list[str]:
    """A text or a list of words; numbers, true and false become texts."""
    if isinstance(cell, list | tuple) and word_lists:
        return [_written(word, where) for word in cell]
    if isinstance(cell, str | Number | np.bool_):
        return _written(cell, where)
    expected = "a text or a list of words" if word_lists else "a text"
    raise UserError(f"{where} must be {expected}, got {str(cell)[:40]!r}.")


def _written(cell: Any, where: str) -> str:
    """A cell as text; a truth value is written as in JSON."""
    return _unicode(str(cell).lower() if isinstance(cell, bool | np.bool_) else str(cell), where)


def _kept(cells: Mapping[str, Any], columns: Mapping[str, str], row_format: RowFormat, where: str) -> dict[str, Any]:
    """The cells of the columns to keep."""
    repeated = [name for name in row_format.repeated if columns[name] == name]
    keep = cells if row_format.keep is None else row_format.keep
    kept = {column: native(cells[column]) for column in keep if column in cells and column not in repeated}
    for column, cell in kept.items():
        nested = isinstance(cell, list | dict)
        _unicode(json.dumps(cell, ensure_ascii=False, default=str) if nested else str(cell), f"{where}: {column}")
    return kept


def _unicode(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where} is invalid text: unpaired surrogate {text[error.start]!r}; remove it.") from error
    return text
