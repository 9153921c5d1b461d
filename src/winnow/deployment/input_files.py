"""The rows of a file or of standard input for a deployed model, each with its location."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from winnow.data.json_rows import json_format
from winnow.data.reader import Layout, read_file, read_stream
from winnow.data.text_lines import BUFFER
from winnow.errors import UserError, nearest
from winnow.files.local_files import FORMATS, PLAIN_TEXT, check_is_file

STANDARD_INPUT = "-"
_KINDS = {**FORMATS, **dict.fromkeys(PLAIN_TEXT, "conll"), ".txt": "text"}

Located = Iterator[tuple[str, Any]]  # location, for messages, and row


def read_rows(file: str, layout: Layout, fields: Sequence[str]) -> Located:
    """The location of each row, and the row by column.

    Args:
        file: a path, or - for standard input.
        layout: with an empty kind the suffix of the file decides. Standard input is then text, or JSON if it starts
            with an object or a list of objects, or JSON lines if a row needs several texts.
        fields: names of the texts of a row.

    Raises:
        UserError: for a missing or empty file, and for a line that cannot be read.
    """
    if file == STANDARD_INPUT:
        name, rows = "standard input", _standard_input(sys.stdin.buffer, layout, fields)
    else:
        layout = layout if layout.kind else replace(layout, kind=_kind_of(Path(file)))
        _check_texts(file, layout, fields)
        check_is_file(Path(file), "file")
        name, rows = file, read_file(Path(file), layout)
    where = None
    for where, row in rows:
        yield f"{name}, {where}", row
    if where is None:
        raise UserError(f"{name} has no rows.")


def check_format(kind: str | None) -> None:
    known = dict.fromkeys(_KINDS.values())
    if kind is not None and kind not in known:
        raise UserError(f"format={kind}: choose one of {', '.join(known)}.{nearest(kind, known)}")


def _standard_input(stream: BinaryIO, layout: Layout, fields: Sequence[str]) -> Iterator[tuple[str, Any]]:
    head = stream.peek(BUFFER)  # type: ignore[attr-defined]  # a BufferedReader
    if not head:
        raise UserError("standard input is empty; it must contain at least one row.")
    if not layout.kind:
        layout = replace(layout, kind=json_format(head) or ("jsonl" if len(fields) > 1 else "text"))
    _check_texts("standard input", layout, fields)
    return read_stream(stream, "standard input", layout)


def _check_texts(name: str, layout: Layout, fields: Sequence[str]) -> None:
    if layout.kind in ("text", "conll") and len(fields) > 1:
        raise UserError(f"{name}: a line of text cannot contain {' and '.join(fields)}; use CSV or JSON lines.")


def _kind_of(path: Path) -> str:
    if path.suffix.lower() not in _KINDS:
        raise UserError(
            f"file={path}: the suffix is none of {', '.join(_KINDS)}; choose a format, such as format=text."
        )
    return _KINDS[path.suffix.lower()]
