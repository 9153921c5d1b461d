"""Rows of JSON and JSON lines files. Numbers, true and false are read as the text that is written."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from winnow.data.squad_json import is_nested, question_rows
from winnow.errors import UserError

JsonRows = Iterator[tuple[str, dict[str, Any]]]  # where a row is, and its cells


class Literal(str):
    """A number, true or false as it is written in the file."""

    __slots__ = ()  # the garbage collector does not visit it


def native(cell: Any) -> Any:
    """A cell with numbers and truth values in place of their `Literal` texts; one that JSON has no number for stays."""
    if isinstance(cell, Literal):
        try:
            number = json.loads(cell)
        except ValueError:
            return str(cell)
        return number if math.isfinite(number) else str(cell)
    if isinstance(cell, dict):
        return {key: native(value) for key, value in cell.items()}
    return [native(value) for value in cell] if isinstance(cell, list) else cell


def json_lines(lines: Iterable[str], name: str) -> JsonRows:
    """The row of each line, as it arrives; blank lines are skipped.

    Raises:
        UserError: for a line that is no object.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        yield from _rows_of(_decoded(line, name, number, _ONE_OBJECT), f"line {number}", name, _ONE_OBJECT)


def json_format(head: bytes) -> str | None:
    """The format of a file with these first bytes: jsonl, or json for a list of objects; None for other text."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _DOCUMENT.match(head):
        return "json"
    line, end, _ = head.partition(b"\n")
    if not end:
        return "jsonl" if line.lstrip().startswith(b"{") else None
    try:
        return "jsonl" if isinstance(json.loads(line), dict) else None
    except (ValueError, RecursionError):
        return None


def json_document(lines: Iterable[str], name: str) -> JsonRows:
    """The rows of a file: a list of objects, objects one after the other, or an object that holds the rows.

    Raises:
        UserError: for anything else.
    """
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    begin, first = next(numbered, (1, ""))
    try:
        is_line = isinstance(_DECODER.decode(first.strip()), dict)
    except (ValueError, RecursionError):
        is_line = False
    if is_line:
        for number, line in chain([(begin, first)], numbered):
            yield from _rows_of(_decoded(line, name, number), f"line {number}", name)
    else:
        yield from _document_rows(first + "".join(line for _, line in numbered), name)


def _document_rows(text: str, name: str) -> JsonRows:
    """The rows of a text that is one JSON value; the items of a list are read one by one."""
    try:
        if text.lstrip().startswith("["):
            for i, item in enumerate(_items(text), start=1):
                yield from _rows_of(item, f"row {i}", name)
        else:
            values = list(_values(text))
            for i, value in enumerate(values, start=1):
                yield from _rows_of(value, f"row {i}" if len(values) > 1 else "", name)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}{_problem(error)}") from error


def _items(text: str) -> Iterator[Any]:
    """The items of a list, decoded one at a time."""
    position = _after_blanks(text, text.index("[") + 1)
    if text[position : position + 1] == "]":
        return
    while True:
        item, position = _DECODER.raw_decode(text, position)
        yield item
        position = _after_blanks(text, position)
        mark = text[position : position + 1]
        if mark == "]":
            break
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
        position = _after_blanks(text, position + 1)
    if text[position + 1 :].strip():
        raise json.JSONDecodeError("Extra data", text, position + 1)


def _values(text: str) -> Iterator[Any]:
    """The values of a text, with blanks between them, at least one."""
    position = _after_blanks(text, 0)
    while True:
        value, position = _DECODER.raw_decode(text, position)
        yield value
        position = _after_blanks(text, position)
        if position == len(text):
            break
        if text[position] == ",":
            raise json.JSONDecodeError("Objects with commas between them need brackets around them", text, position)


def _after_blanks(text: str, position: int) -> int:
    while text[position : position + 1] in _BLANKS:
        position += 1
    return position


def _rows_of(value: Any, where: str, name: str, rule: str = "") -> JsonRows:
    """The rows that a JSON value holds: itself, or the questions of articles.

    Args:
        value: of a line, an item or, with an empty ``where``, the whole file.
        where: its place in the file.
        name: of the file.
        rule: added to the message for a value that is no object.
    """
    if is_nested(value):
        try:
            for inner, row in question_rows(value):
                yield f"{where}, {inner}" if where else inner, row
        except UserError as error:
            raise UserError(f"{name}, {where}: {error}" if where else f"{name}: {error}") from error
    elif isinstance(value, dict):
        yield where or "row 1", value
    else:
        shown = json.dumps(value, ensure_ascii=False)[:40]
        raise UserError(f'{name}, {where or "row 1"} must be an object such as {{"text": "..."}}, got {shown}.{rule}')


def _decoded(line: str, name: str, number: int, rule: str = "") -> Any:
    """The value of a line; ``rule`` is added to the message if the value goes on after it."""
    text = line.strip()
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        goes_on = isinstance(error, json.JSONDecodeError) and error.pos == len(text)
        problem = _problem(error).removeprefix(", line 1") + (rule if goes_on else "")
        raise UserError(f"{name}, line {number}{problem}") from error


def _problem(error: Exception) -> str:
    """The end of a message, after the name of the file."""
    if isinstance(error, json.JSONDecodeError):
        return f", line {error.lineno}, column {error.colno} is not JSON ({error.msg})."
    return f": {error}" if isinstance(error, ValueError) else ": its values are nested too deeply."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = {key: _leaf(value) for key, value in pairs}
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key '{repeated}' twice; rename or remove one of them.")
    return row


def _leaf(value: Any) -> Any:
    if isinstance(value, bool):
        return Literal("true" if value else "false")
    return [_leaf(item) for item in value] if isinstance(value, list) else value


def _constant(name: str) -> str | None:
    """NaN is a missing value, as pandas writes it; Infinity is a text that is no finite number."""
    return None if name == "NaN" else name


_ONE_OBJECT = (
    " In JSON lines each line is an object; lists, and objects over several lines, have the format json and the suffix "
    ".json."
)
_DOCUMENT = re.compile(rb"\s*\[\s*\{|\s*\{[ \t\r]*\n")  # a list of objects, or an object over several lines
_BLANKS = frozenset(" \t\r\n")
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=Literal, parse_float=Literal, parse_constant=_constant)
