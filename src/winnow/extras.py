"""Packages that only some words of the command line need."""

from importlib.util import find_spec

from winnow.errors import UserError


def require_extra(word: str, extra: str, package: str) -> None:
    """Refuse a word whose package is not installed.

    Args:
        word: as it is typed, e.g. ``logger=wandb``.
        extra: of ours, which installs the package.
        package: as it is imported.
    """
    if not is_installed(package):
        raise UserError(f"{word}: the package is not installed; pip install 'winnow-transformers[{extra}]'.")


def is_installed(package: str) -> bool:
    """True if a package is found; the packages around it are imported, it is not."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
