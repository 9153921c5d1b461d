"""Read the answers of a question answering split in any of their forms, and check them against the contexts."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset, Features, List, Value, concatenate_datasets

from winnow.data.batch import Columns
from winnow.data.cached_map import cached_map
from winnow.data.places import place_of
from winnow.errors import UserError
from winnow.functional.printed import printed_value
from winnow.text import truncated

WITHIN = object()  # instead of a cell with positions: the answers have them
_KEYS = ("text", "answer_start")
_LISTS = [{"text": List(Value("string")), "answer_start": List(Value(dtype))} for dtype in ("int64", "int32")]
_PRINTED_NONE = ("null", "None")
_POSITION = re.compile(r"\s*([0-9]{1,18})(\.0*)?\s*")
_EXPECTED = (
    'must hold answers such as {"text": ["the words"], "answer_start": [12]} with the position of the first character '
    "in the context"
)
_CORRECT = "correct the row or leave it out."


def answers_of(cell: Any, start: Any = WITHIN) -> dict[str, list[Any]]:
    """The answers of one question, ``text`` and ``answer_start``, lists of equal length.

    Args:
        cell: a mapping with a text and its position or with lists of them, a list of such mappings, or one of these as
            JSON or Python prints it. With ``start`` a text or a list of texts. A missing or blank text is no answer.
        start: the position of a text, counted from 0, or a list of positions.

    Raises:
        ValueError: what is wrong, the value and the remedy; the words follow the name of the column.
    """
    found = _pairs(cell) if start is WITHIN else _pairs_beside(cell, start)
    answers = [(_text(text), _position(position, text)) for text, position in found if not _is_blank(text)]
    return {"text": [text for text, _ in answers], "answer_start": [position for _, position in answers]}


def with_answer_lists(split: Dataset, column: str, start_column: str | None, place: Callable[[int], str]) -> Dataset:
    """The split with answers as `answers_of` returns them, and without the column of their positions.

    Args:
        split: any rows.
        column: column of the answers.
        start_column: column with the positions of plain texts; None if the answers have them.
        place: names a row, counted from 0, in error messages.
    """
    if start_column is None and _are_answer_lists(split, column):
        return split
    columns = [column] if start_column is None else [column, start_column]
    try:
        answers = cached_map(
            split.select_columns(columns),
            _mapped_answers,
            batched=True,
            with_indices=True,
            input_columns=columns,
            remove_columns=columns,
            features=Features({column: _LISTS[0]}),
            fn_kwargs={"column": column},
        )
    except _RowError as error:
        raise UserError(f"{place(error.row)}: column '{column}' {error}") from error
    return concatenate_datasets([split.remove_columns(columns), answers], axis=1)


def check_answers(split: Dataset, name: str, *, unanswerable: bool) -> None:
    """Raise an error for the first row whose answers do not match its context.

    Args:
        split: has the columns context and answers.
        name: name of the split, for error messages.
        unanswerable: True: a question may have no answer.
    """
    row = 0
    for rows in split.select_columns(["context", "answers"]).iter(1000):
        for context, answers in zip(rows["context"], rows["answers"], strict=True):
            try:
                _check_row(context, answers, unanswerable)
            except ValueError as error:
                raise UserError(f"{place_of(split, name, row)}: {error}") from error
            row += 1


def _check_row(context: str, answers: Mapping[str, Sequence[Any]], unanswerable: bool) -> None:
    if not answers["text"] and not unanswerable:
        raise ValueError(
            "the question has no answer; for data such as SQuAD v2 set task=squad_v2 or task.unanswerable=true."
        )
    if len(answers["text"]) != len(answers["answer_start"]):
        raise ValueError(
            f"there are {len(answers['text'])} answers but {len(answers['answer_start'])} values of answer_start; "
            f"{_CORRECT}"
        )
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        found = context[start : start + len(text)]
        if found != text:
            place = context.find(text)
            begins = f", which begins at {place}" if place >= 0 else ""
            raise ValueError(
                f"answer_start {start} is wrong: the context has '{found}' there, not '{text}'{begins}; {_CORRECT}"
            )


class _RowError(ValueError):
    """What is wrong with the answers of a row."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def _mapped_answers(cells: Sequence[Any], *others: Any, column: str) -> Columns:
    """``cells`` are followed by their positions, if these have a column, and by the numbers of the rows."""
    *positions, rows = others
    starts = positions[0] if positions else [WITHIN] * len(cells)
    answers = []
    for cell, start, row in zip(cells, starts, rows, strict=True):
        try:
            answers.append(answers_of(cell, start))
        except ValueError as error:
            raise _RowError(row, str(error)) from error
    return {column: answers}


def _are_answer_lists(split: Dataset, column: str) -> bool:
    """True if `answers_of` would change no cell: lists of texts and positions, none of them missing or blank."""
    if split.features[column] not in _LISTS:
        return False
    for table in split.select_columns([column]).with_format("arrow").iter(10_000):
        cells = table[column]
        lists = [pc.struct_field(cells, name) for name in _KEYS]
        texts, starts = map(pc.list_flatten, lists)
        if any(array.null_count for array in (cells, *lists, texts, starts)):
            return False
        if pc.any(pc.equal(pc.utf8_trim_whitespace(texts), "")).as_py() or pc.any(pc.less(starts, 0)).as_py():
            return False
    return True


def _pairs(cell: Any) -> Iterator[tuple[Any, Any]]:
    """Each text of a mapping, of a list of mappings, or of the text of one, with its position."""
    if isinstance(cell, str) and cell.lstrip().startswith(("[", "(", "{")):
        cell = _printed(cell)
    if isinstance(cell, Mapping):
        if cell and "text" not in cell:
            raise ValueError(f'{_EXPECTED}; "text" is missing beside {", ".join(cell)}.')
        yield from _zipped(cell.get("text"), cell.get("answer_start"))
    elif isinstance(cell, list) and all(isinstance(item, (Mapping, NoneType)) for item in cell):
        for item in cell:
            yield from _pairs(item)
    elif not _is_blank(cell) and cell not in _PRINTED_NONE:
        raise ValueError(
            f"{_EXPECTED}, got '{truncated(str(cell), 40)}'; if it holds plain texts, name the column of the positions "
            "with task.data.answer_start_column=COLUMN."
        )


def _pairs_beside(cell: Any, start: Any) -> Iterator[tuple[Any, Any]]:
    """Each text of a cell with its position in the column of positions."""
    if isinstance(start, str) and start.lstrip().startswith("["):
        start = _printed(start)
    if isinstance(start, list) and isinstance(cell, str) and cell.lstrip().startswith(("[", "(")):
        cell = _printed(cell)
    if any(isinstance(item, Mapping) for item in _listed(cell)):
        raise ValueError(
            f"has answers with their positions, {truncated(str(cell), 40)}; leave out task.data.answer_start_column."
        )
    yield from _zipped(cell, start)


def _printed(cell: str) -> Any:
    try:
        return printed_value(cell)
    except ValueError as error:
        raise ValueError(f"{_EXPECTED}: {error}; write it as JSON.") from error


def _zipped(texts: Any, starts: Any) -> Iterator[tuple[Any, Any]]:
    texts, starts = _listed(texts), _listed(starts)
    if all(map(_is_blank, texts)):
        return
    if len(texts) != len(starts):
        raise ValueError(f"has {len(texts)} answers but {len(starts)} values of answer_start; {_CORRECT}")
    yield from zip(texts, starts, strict=True)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_blank(value: Any) -> bool:
    """True for a missing value, NaN, and a text of blanks."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _text(value: Any) -> str:
    if isinstance(value, (list, Mapping)):
        raise ValueError(f"{_EXPECTED}, got the text {truncated(str(value), 40)}; {_CORRECT}")
    return str(value)  # numbers and dates of Parquet files


def _position(start: Any, text: Any) -> int:
    match = _POSITION.fullmatch(str(start))
    if match is None:
        shown = "no answer_start" if _is_blank(start) else f"the answer_start {truncated(str(start), 20)}"
        raise ValueError(
            f"has {shown} for the answer '{truncated(str(text), 40)}'; it must be the position of the first character "
            f"in the context, counted from 0: {_CORRECT}"
        )
    return int(match[1])
