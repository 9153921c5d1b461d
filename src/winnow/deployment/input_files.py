"""Rows from a file or standard input, one after another, each with the place where it stands: text, CSV, JSON lines."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from winnow.errors import UserError, nearest

FORMATS = {".txt": "text", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl"}
STANDARD_INPUT = "-"
_LONGEST_CELL = 10_000_000  # characters; a quote that nobody closes must not swallow the whole file

Located = Iterator[tuple[str, Any]]


def read_rows(file: str, kind: str | None, asked: Sequence[str]) -> Located:
    """Where each row stands, and the row: a mapping, or the text alone.

    Args:
        file: a path, or - for standard input.
        kind: text, csv, tsv or jsonl; None: what the name ends in. Standard input is text, or JSON lines where it
            begins with an object or a row must have more than one text.
        asked: the names of the texts of a row.

    Raises:
        UserError: for a file that is not there or empty, and a line that cannot be read.
    """
    name = "standard input" if file == STANDARD_INPUT else file
    if kind is None and file != STANDARD_INPUT:
        kind = _kind_of(Path(file))
    with nullcontext(sys.stdin.buffer) if file == STANDARD_INPUT else _opened(Path(file)) as lines:
        first = next(lines, b"")
        if not first:
            raise UserError(f"{name} is empty: there is nothing to answer.")
        kind = kind or ("jsonl" if len(asked) > 1 or _is_object(first) else "text")
        yield from _rows(_decoded(chain([first], lines), name), name, kind, asked)


def check_format(kind: str | None) -> None:
    known = dict.fromkeys(FORMATS.values())
    if kind is not None and kind not in known:
        raise UserError(f"format={kind}: there are {', '.join(known)}.{nearest(kind, known)}")


def _kind_of(path: Path) -> str:
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"file={path}: it ends in none of {', '.join(FORMATS)}; say what it is with format=text.")
    return FORMATS[path.suffix.lower()]


def _opened(path: Path) -> BinaryIO:
    if not path.is_file():
        siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"file={path}: there is no such file.{nearest(path.name, siblings)}")
    return path.open("rb")


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines with their ends, which a cell of a CSV file may hold."""
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name}, line {number} is no UTF-8; convert the file, such as with iconv -f latin1 -t utf-8."
            ) from error


def _rows(lines: Iterator[str], name: str, kind: str, asked: Sequence[str]) -> Located:
    if kind == "jsonl":
        return _json_rows(lines, name)
    if kind in ("csv", "tsv"):
        return _table_rows(lines, name, "\t" if kind == "tsv" else ",")
    if len(asked) > 1:
        raise UserError(f"{name}: a line of text cannot hold {' and '.join(asked)}; give CSV or JSON lines with both.")
    return ((f"{name}, line {number}", line.rstrip("\r\n")) for number, line in enumerate(lines, start=1))


def _json_rows(lines: Iterator[str], name: str) -> Located:
    for number, line in enumerate(lines, start=1):
        where = f"{name}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where} is no JSON ({error.msg}).") from error
        if not isinstance(row, Mapping):
            raise UserError(f'{where} must be an object such as {{"text": "..."}}, got {line.strip()[:40]}.')
        yield where, row


def _table_rows(lines: Iterator[str], name: str, separator: str) -> Located:
    csv.field_size_limit(_LONGEST_CELL)
    table = csv.reader(lines, delimiter=separator, strict=True)
    try:
        header = next(table)
        for cells in table:
            where = f"{name}, line {table.line_num}"
            if cells and len(cells) != len(header):
                raise UserError(f"{where} has {len(cells)} cells, but the first line names {len(header)} columns.")
            if cells:
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{name}, line {table.line_num} is no line of such a table ({error}).") from error
