"""Optional packages that only some options need."""

from importlib.util import find_spec

from winnow.errors import UserError


def require_extra(option: str, extra: str, package: str) -> None:
    """Refuse an option whose package is not installed.

    Args:
        option: on the command line, e.g. ``logger=wandb``.
        extra: of Winnow, that installs the package.
        package: the name to import.
    """
    if not is_installed(package):
        raise UserError(f"{option}: the package is not installed; pip install 'winnow-transformers[{extra}]'.")


def is_installed(package: str) -> bool:
    """True if a package can be found; only its parent packages are imported."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
