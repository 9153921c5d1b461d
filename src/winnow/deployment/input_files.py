"""Read rows one by one from a file or standard input, each with its location: text, CSV, TSV or JSON lines."""

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
_LONGEST_CELL = 10_000_000  # characters; an unclosed quote must not load the whole file

Located = Iterator[tuple[str, Any]]  # location, for messages, and row


def read_rows(file: str, kind: str | None, fields: Sequence[str]) -> Located:
    """The location of each row, and the row: a mapping, or a text.

    Args:
        file: a path, or - for standard input.
        kind: text, csv, tsv or jsonl; None chooses by the suffix. Standard input is then text, or JSON lines if it
            starts with an object or if a row needs several texts.
        fields: names of the texts of a row.

    Raises:
        UserError: for a missing or empty file, and for a line that cannot be read.
    """
    name = "standard input" if file == STANDARD_INPUT else file
    if kind is None and file != STANDARD_INPUT:
        kind = _kind_of(Path(file))
    with nullcontext(sys.stdin.buffer) if file == STANDARD_INPUT else _opened(Path(file)) as lines:
        first = next(lines, b"")
        if not first:
            raise UserError(f"{name} is empty; it must contain at least one row.")
        kind = kind or ("jsonl" if len(fields) > 1 or _is_object(first) else "text")
        yield from _rows(_decoded(chain([first], lines), name), name, kind, fields)


def check_format(kind: str | None) -> None:
    known = dict.fromkeys(FORMATS.values())
    if kind is not None and kind not in known:
        raise UserError(f"format={kind}: choose one of {', '.join(known)}.{nearest(kind, known)}")


def _kind_of(path: Path) -> str:
    if path.suffix.lower() not in FORMATS:
        raise UserError(
            f"file={path}: the suffix is none of {', '.join(FORMATS)}; choose a format, such as format=text."
        )
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
    """Lines with their line ends, which a cell of a CSV file may contain."""
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name}, line {number} is not UTF-8; convert the file, for example with iconv -f latin1 -t utf-8."
            ) from error


def _rows(lines: Iterator[str], name: str, kind: str, fields: Sequence[str]) -> Located:
    if kind == "jsonl":
        return _json_rows(lines, name)
    if kind in ("csv", "tsv"):
        return _table_rows(lines, name, "\t" if kind == "tsv" else ",")
    if len(fields) > 1:
        raise UserError(f"{name}: a line of text cannot contain {' and '.join(fields)}; use CSV or JSON lines.")
    return ((f"{name}, line {number}", line.rstrip("\r\n")) for number, line in enumerate(lines, start=1))


def _json_rows(lines: Iterator[str], name: str) -> Located:
    for number, line in enumerate(lines, start=1):
        where = f"{name}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where} is not JSON ({error.msg}).") from error
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
                raise UserError(f"{where} has {len(cells)} cells, but the header has {len(header)} columns.")
            if cells:
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{name}, line {table.line_num} is not a valid table row ({error}).") from error
