"""Packages that only some words of the command line need."""

from importlib.util import find_spec

from src.errors import UserError


def require_extra(word: str, extra: str, package: str) -> None:
    """Refuse a word whose package is not installed; nothing is imported.

    Args:
        word: as it is typed, e.g. ``logger=wandb``.
        extra: of ours, which installs the package.
        package: as it is imported.
    """
    if find_spec(package) is None:
        raise UserError(f"{word}: the package is not installed; pip install 'winnow-transformers[{extra}]'.")
