"""Names of the columns that an answer copies from its row, beside the fields of the answer."""

from collections.abc import Collection, Mapping
from typing import Any


class KeptColumns:
    """Give each column the same name in all answers: its own, or input_NAME if an answer has a field of that name.

    Args:
        fields: names of all fields of an answer.
    """

    def __init__(self, fields: Collection[str]) -> None:
        self.fields = fields
        self.names: dict[str, str] = {}  # column -> name in the answers

    def renamed(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """The cells of a row by their names in its answer, in their order."""
        new = [column for column in cells if column not in self.names]
        for column in sorted(new, key=lambda column: column in self.fields):  # first those that keep their own name
            self.names[column] = self._free_name(column)
        return {self.names[column]: cell for column, cell in cells.items()}

    def _free_name(self, name: str) -> str:
        taken = {*self.fields, *self.names.values()}
        while name in taken:
            name = f"input_{name}"
        return name
