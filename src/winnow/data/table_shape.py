"""The shape of a table: all rows have the cells of its header, and there is one header."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from winnow.errors import UserError
from winnow.text import truncated

_MARK = "\ufeff"  # the byte order mark of a file that was appended to another one
_SEPARATORS = ",;\t|"
_SHORT = 40  # characters


@dataclass
class TableShape:
    """Checks the rows of a table one after the other, the header first.

    Args:
        name: of the file, for messages.
        header: False: the first row is a row like the others.
        separator: of the cells, set by the user; None: ``default``, unless the header shows another one.
        default: separator of this format.
        prefix: of the names of settings in messages.
        rule: what a cell may hold, for messages.
    """

    name: str
    header: bool
    separator: str | None
    default: str
    prefix: str
    rule: str
    first: list[str] = field(default_factory=list, init=False)

    def check(self, line: int, cells: list[str]) -> None:
        """Raise an error for a row of another shape.

        Raises:
            UserError: for another number of cells than in the first row, for a header with names that are equal or
                missing or with another separator, and for a second header.
        """
        if not self.first:
            self.first = cells
            if self.header:
                self._check_header(f"{self.name}, line {line}", cells)
        elif len(cells) != len(self.first):
            raise UserError(self._other_width(line, cells))
        elif self.header and cells[-1] == self.first[-1] and len(cells) > 1 and self._is_header(cells):
            raise UserError(
                f"{self.name}, line {line} repeats the header, as in files that were joined; remove this line, or set "
                f"{self.prefix}header=false if the first line is no header."
            )

    def _is_header(self, cells: Sequence[str]) -> bool:
        return [cells[0].removeprefix(_MARK), *cells[1:]] == self.first

    def _check_header(self, where: str, names: Sequence[str]) -> None:
        if names[0] == "sep=" or (len(names) == 1 and names[0].startswith("sep=")):
            raise UserError(f"{where}: '{names[0]}' is for Excel and no header; remove this line.")
        if len(names) == 1 and self.separator is None:
            self._check_separator(where, names[0])
        for i, column in enumerate(names):
            if not column.strip():
                raise UserError(
                    f"{where}: column {i + 1} of the header has no name; name it, or leave it out (pandas writes such "
                    "a column for its index: to_csv(..., index=False))."
                )
            if column in names[:i]:
                raise UserError(f"{where}: two columns of the header are named '{column}'; rename one of them.")

    def _check_separator(self, where: str, header: str) -> None:
        """Refuse a header of one cell that has the separator of another format."""
        other = next((mark for mark in _SEPARATORS if mark in header and mark != self.default), None)
        if other is not None:
            raise UserError(
                f"{where}: the header is the single cell '{truncated(header, _SHORT)}'; name the separator of the "
                f"cells, \"{self.prefix}separator='{other}'\", or '{self.default}' if there is one column."
            )

    def _other_width(self, line: int, cells: Sequence[str]) -> str:
        found = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
        columns = f"there are {len(self.first)} columns"
        if len(self.first) == 1:
            columns = f"the first row has the single cell '{truncated(self.first[0], _SHORT)}'"
        return f"{self.name}, line {line} has {found}, but {columns}; correct the row ({self.rule})."
