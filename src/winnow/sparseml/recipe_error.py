"""Errors in a recipe file: first with a line, then with the file."""

from pathlib import Path

from winnow.errors import UserError


class RecipeError(ValueError):
    """What is wrong with a value of a recipe.

    Args:
        line: of the value, where it is known.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line

    def in_file(self, path: Path) -> UserError:
        """The same error with file and line, for the user."""
        return UserError(f"{path}, line {self.line or 1}: {self}")


class NoRecipeError(UserError):
    """The file contains no recipe at all."""
