"""Check rows for a deployed model, whether they come from a file, a command line or Python, and find their texts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.errors import UserError, nearest
from winnow.tasks.task import Task


@dataclass
class RowFormat:
    """What a row must contain.

    Args:
        columns: name of a text -> columns that may contain it; the first one of a row counts.
        word_lists: whether a text may be a list of words.
        keep: columns to copy to the answer, where a row has them.
        drop_empty: skip rows with an empty text instead of refusing them.
    """

    columns: Mapping[str, Sequence[str]]
    word_lists: bool
    keep: Sequence[str] = ("id",)
    drop_empty: bool = False

    @classmethod
    def of(cls, task: Task, text_columns: Sequence[str] | None = None, **options: Any) -> "RowFormat":
        """The format for a task; without ``text_columns``, texts have the columns of training or their own names."""
        if text_columns and len(text_columns) != len(task.input_fields):
            needed = " and ".join(task.input_fields)
            raise UserError(
                f"text_columns must name {len(task.input_fields)} columns, for {needed}; got {', '.join(text_columns)}."
            )
        default = zip(task.text_columns, task.input_fields, strict=True)
        places = [(column,) for column in text_columns] if text_columns else [tuple(dict.fromkeys(p)) for p in default]
        columns = dict(zip(task.input_fields, places, strict=True))
        return cls(columns, task.accepts_word_lists, **options)

    @property
    def first_column(self) -> str:
        """The column of the first text."""
        return next(iter(self.columns.values()))[0]


def checked_rows(rows: Iterable[tuple[str, Any]], row_format: RowFormat) -> Iterator[dict[str, Any]]:
    """Each row as its kept columns and its texts by name.

    Args:
        rows: the location of each row, for messages, and a mapping, or a text.
        row_format: of all rows.

    Raises:
        UserError: for a row without a text, with an empty one, or with a value of another type.
    """
    for where, row in rows:
        cells = row if isinstance(row, Mapping) else {next(iter(row_format.columns)): row}
        kept = {column: cells[column] for column in row_format.keep if column in cells}
        texts = {name: _cell(cells, places, where) for name, places in row_format.columns.items()}
        empty = [name for name, cell in texts.items() if _is_empty(cell)]
        if empty and row_format.drop_empty:
            continue
        if empty:
            raise UserError(f"{where}: {empty[0]} is empty; fill it, or skip such rows with drop_empty=true.")
        yield kept | {name: _text(cell, f"{where}: {name}", row_format.word_lists) for name, cell in texts.items()}


def _cell(cells: Mapping[str, Any], places: Sequence[str], where: str) -> Any:
    for column in places:
        if column in cells:
            return cells[column]
    names, found = " or ".join(f"'{column}'" for column in places), ", ".join(map(str, cells))
    raise UserError(
        f"{where}: there is no column {names}, only {found}; choose one with text_columns=NAME."
        f"{nearest(places[0], cells)}"
    )


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == [] or (isinstance(cell, str) and not cell.strip())


def _text(cell: Any, where: str, word_lists: bool) -> str | list[str]:
    """A text or a list of words; numbers become texts."""
    if isinstance(cell, list | tuple) and word_lists:
        return ["" if word is None else _unicode(str(word), where) for word in cell]
    if isinstance(cell, str | int | float):
        return _unicode(str(cell), where)
    expected = "a text or a list of words" if word_lists else "a text"
    raise UserError(f"{where} must be {expected}, got {str(cell)[:40]!r}.")


def _unicode(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where} is invalid text: unpaired surrogate {text[error.start]!r}; remove it.") from error
    return text
