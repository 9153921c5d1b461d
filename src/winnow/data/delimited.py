"""Rows of CSV files (RFC 4180) and of TSV files, which have no quoting; every cell is the text that is written."""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence

from winnow.data.table_shape import TableShape
from winnow.errors import UserError

_EVIDENCE_ROWS = 10_000  # rows whose cells are remembered to recognise rows within a cell
_SHORT = 40  # characters of a remembered cell, such as a label

Numbered = Iterator[tuple[int, list[str]]]  # the line where a row begins, and its cells


def csv_rows(
    lines: Iterable[str], name: str, *, header: bool, separator: str | None = None, prefix: str = ""
) -> Numbered:
    """The header, if there is one, and the rows of a CSV file.

    Args:
        lines: of the file, with their ends.
        name: of the file, for messages.
        header: True: the first row has the names of the columns.
        separator: of the cells; None means a comma, unless the header shows another one, which is an error.
        prefix: of the names of settings in messages.

    Raises:
        UserError: for quotes that are not as in RFC 4180, a row with another number of cells than the first, a second
            header, and a cell that holds whole rows because a quote is missing.
    """
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, strict=True, delimiter=separator or ",")
    swallowed = _SwallowedRows(name, separator or ",")
    rule = f"in CSV a cell with '{separator or ','}' stands in quotes"
    shape = TableShape(name, header, separator, ",", prefix, rule)
    begin = 1
    try:
        for cells in reader:
            if cells or len(shape.first) == 1:
                cells = cells or [""]
                shape.check(begin, cells)
                swallowed.see(begin, cells, several_lines=reader.line_num > begin)
                yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{name}, line {begin}: the row that begins here cannot be read ({_reason(error, reader.line_num)}); "
            'in CSV a cell with quote marks is written "say ""no""", a .tsv file has no quoting.'
        ) from error
    swallowed.check()


def tsv_rows(
    lines: Iterable[str], name: str, *, header: bool, separator: str | None = None, prefix: str = ""
) -> Numbered:
    """The header, if there is one, and the rows of a TSV file: cells between tabs, a quote mark is a character.

    Args:
        lines, name, header, prefix: as for `csv_rows`.
        separator: of the cells; None means a tab.

    Raises:
        UserError: for a row with another number of cells than the first, and for a second header.
    """
    rule = "a cell of a TSV file holds no tab and no line end"
    shape = TableShape(name, header, separator, "\t", prefix, rule)
    for number, line in enumerate(lines, start=1):
        cells = without_end(line).split(separator or "\t")
        if cells == [""] and len(shape.first) != 1:
            continue
        shape.check(number, cells)
        yield number, cells


def without_end(line: str) -> str:
    """A line without its end."""
    return line.removesuffix("\n").removesuffix("\r")


def _reason(error: csv.Error, line: int) -> str:
    text = str(error)
    if "unexpected end of data" in text:
        return "its quote is not closed before the end of the file"
    if "new-line character" in text:
        return f"line {line} has a carriage return outside quotes"
    if "expected after" in text:
        return f"in line {line} a closing quote is followed by more text"
    return text


class _SwallowedRows:
    """Finds rows that are part of a cell, because the quotes of two rows were taken for a pair.

    A cell of several lines is no mistake by itself. It is one if its lines, read as rows, have the number of cells of
    the file, and one of the cells that appear so, such as a label, is also a cell of another row.
    """

    def __init__(self, name: str, separator: str) -> None:
        self.name = name
        self.separator = separator
        self.rows = 0
        self.known: list[set[str]] = []  # short cells of each column
        self.suspects: list[tuple[int, list[tuple[int, str]]]] = []

    def see(self, line: int, cells: Sequence[str], *, several_lines: bool) -> None:
        if several_lines:
            self.suspects += [(line, found) for i in range(len(cells)) if (found := self._cells_within(cells, i))]
        if self.rows < _EVIDENCE_ROWS:
            self.known = self.known or [set() for _ in cells]
            for cell, known in zip(cells, self.known, strict=True):
                if len(cell) <= _SHORT:
                    known.add(cell)
        self.rows += 1

    def check(self) -> None:
        for line, found in self.suspects:
            if any(cell and cell in self.known[column] for column, cell in found):
                raise UserError(
                    f"{self.name}, line {line}: a cell that begins here holds whole rows, since a quote mark is "
                    "missing; close or double it, or save the file as .tsv, which has no quoting."
                )

    def _cells_within(self, cells: Sequence[str], index: int) -> list[tuple[int, str]]:
        """The column and text of each cell that appears if the lines of one cell are read as rows of their own.

        Empty if these rows have another number of cells than the file.
        """
        if "\n" not in cells[index] or self.separator not in cells[index]:
            return []
        first, *middle, last = [line.rstrip("\r").split(self.separator) for line in cells[index].split("\n")]
        widths = {index + len(first), len(last) + len(cells) - index - 1, *map(len, middle)}
        if widths != {len(cells)}:
            return []
        rows = [list(enumerate(first))[1:], *map(enumerate, middle), enumerate(last[:-1])]
        return [(index + column if row is rows[0] else column, cell) for row in rows for column, cell in row]
