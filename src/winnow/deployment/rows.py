"""The rows that a deployed model is asked about, from wherever they come: their texts found and checked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.errors import UserError, nearest
from winnow.tasks.task import Task


@dataclass
class Wanted:
    """What a row must have.

    Args:
        columns: name of a text -> the columns in which it may stand, the first that a row has counts.
        word_lists: a text may be a list of words.
        keep: columns that are handed through to the answer; a row may lack them.
        drop_empty: rows with an empty text are left out instead of refused.
    """

    columns: Mapping[str, Sequence[str]]
    word_lists: bool
    keep: Sequence[str] = ("id",)
    drop_empty: bool = False

    @classmethod
    def of(cls, task: Task, text_columns: Sequence[str] | None = None, **options: Any) -> "Wanted":
        """What a task asks for: in the columns that are named, else in those of its training or under its own names."""
        if text_columns and len(text_columns) != len(task.input_fields):
            needed = " and ".join(task.input_fields)
            raise UserError(
                f"text_columns must name {len(task.input_fields)} for {needed}, got {', '.join(text_columns)}."
            )
        usual = zip(task.text_columns, task.input_fields, strict=True)
        places = [(column,) for column in text_columns] if text_columns else [tuple(dict.fromkeys(p)) for p in usual]
        columns = dict(zip(task.input_fields, places, strict=True))
        return cls(columns, task.accepts_word_lists, **options)


def checked_rows(rows: Iterable[tuple[str, Any]], wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Each row as what is kept of it and its texts by name.

    Args:
        rows: where each stands, for messages, and a mapping, or the text alone.
        wanted: what it must have.

    Raises:
        UserError: for a row that lacks a text, has an empty one, or one that is no text.
    """
    for where, row in rows:
        cells = row if isinstance(row, Mapping) else {next(iter(wanted.columns)): row}
        kept = {column: cells[column] for column in wanted.keep if column in cells}
        texts = {name: _cell(cells, places, where) for name, places in wanted.columns.items()}
        empty = [name for name, cell in texts.items() if _is_empty(cell)]
        if empty and wanted.drop_empty:
            continue
        if empty:
            raise UserError(f"{where}: {empty[0]} is empty; fill it, or leave such rows out with drop_empty=true.")
        yield kept | {name: _text(cell, f"{where}: {name}", wanted) for name, cell in texts.items()}


def _cell(cells: Mapping[str, Any], places: Sequence[str], where: str) -> Any:
    for column in places:
        if column in cells:
            return cells[column]
    names, found = " or ".join(f"'{column}'" for column in places), ", ".join(map(str, cells))
    raise UserError(f"{where}: there is no {names}, only {found}; say text_columns=NAME.{nearest(places[0], cells)}")


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == [] or (isinstance(cell, str) and not cell.strip())


def _text(cell: Any, where: str, wanted: Wanted) -> str | list[str]:
    """A text, or a list of words; numbers are texts too."""
    if isinstance(cell, (list, tuple)) and wanted.word_lists:
        return ["" if word is None else _unicode(str(word), where) for word in cell]
    if isinstance(cell, (str, int, float)):
        return _unicode(str(cell), where)
    kinds = "a text or a list of words" if wanted.word_lists else "a text"
    raise UserError(f"{where} must be {kinds}, got {str(cell)[:40]!r}.")


def _unicode(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where} has half a character, {text[error.start]!r}, which stands for nothing.") from error
    return text
