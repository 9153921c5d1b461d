"""The one reader of users' files: rows with their place, cells as they are written. docs/data.md is its contract."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from winnow.data.delimited import csv_rows, tsv_rows, without_end
from winnow.data.json_rows import json_document, json_lines
from winnow.data.tagged_sentences import conll_sentences
from winnow.data.text_lines import BUFFER, text_lines
from winnow.errors import UserError
from winnow.extras import require_extra

Rows = Iterator[tuple[str, Mapping[str, Any]]]  # where a row is, such as "line 7", and its cells by column


@dataclass(frozen=True)
class Layout:
    """How a file is read.

    Args:
        kind: csv, tsv, json, jsonl, text, conll or parquet.
        encoding: of a file that is not UTF-8 and has no byte order mark.
        header: False: a CSV or TSV file has no names; its columns are named 0, 1, ...
        separator: of the cells of CSV and TSV files; None: a comma, a tab.
        comment_prefix: of lines of a CoNLL file that are skipped.
        text_column: name for the lines of a text, and for the words of a CoNLL file.
        tag_column: name for the last column of a CoNLL file.
        prefix: of the names of these settings in messages.
    """

    kind: str
    encoding: str | None = None
    header: bool = True
    separator: str | None = None
    comment_prefix: str | None = None
    text_column: str = "text"
    tag_column: str = "tags"
    prefix: str = ""


def read_file(path: Path, layout: Layout) -> Rows:
    """The rows of a file. A cell is a string, None where it is missing, or a list or mapping of these.

    Raises:
        UserError: with the line, for a file that cannot be read as it says it is.
    """
    check_not_empty(path)
    if layout.kind == "parquet":
        require_extra(str(path), "parquet", "pyarrow")
        from winnow.data.parquet_rows import parquet_rows

        yield from parquet_rows(path)
        return
    with path.open("rb", buffering=BUFFER) as stream:
        yield from read_stream(stream, str(path), layout)


def check_not_empty(path: Path) -> None:
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: it has 0 bytes.")


def read_stream(stream: BinaryIO, name: str, layout: Layout) -> Rows:
    """The rows of an open file, each as soon as it arrives; ``name`` is for messages."""
    lines = text_lines(stream, name, layout.encoding, layout.prefix, quoted=layout.kind == "csv")
    if layout.kind == "jsonl":
        return json_lines(lines, name)
    if layout.kind == "json":
        return json_document(lines, name)
    if layout.kind in ("csv", "tsv"):
        return _table(lines, name, layout)
    if layout.kind == "conll":
        return _sentences(lines, name, layout)
    if layout.kind == "text":
        return ((f"line {i}", {layout.text_column: without_end(line)}) for i, line in enumerate(lines, start=1))
    raise UserError(f"{name}: {layout.kind} cannot be read as a stream; name a file.")


def _table(lines: Iterator[str], name: str, layout: Layout) -> Rows:
    rows_of = csv_rows if layout.kind == "csv" else tsv_rows
    rows = rows_of(lines, name, header=layout.header, separator=layout.separator, prefix=layout.prefix)
    columns: list[str] = []
    for line, cells in rows:
        if not columns:
            columns = cells if layout.header else [str(i) for i in range(len(cells))]
            if layout.header:
                continue
        yield f"line {line}", dict(zip(columns, cells, strict=True))


def _sentences(lines: Iterator[str], name: str, layout: Layout) -> Rows:
    for line, words in conll_sentences(lines, name, layout.comment_prefix, layout.prefix):
        columns = list(map(list, zip(*words, strict=True)))
        row = {layout.text_column: columns[0]}
        if len(columns) > 1:
            row[layout.tag_column] = columns[-1]
        yield f"line {line}", row
