"""Arguments of a command line that are taken as they are typed, whatever Hydra's grammar makes of their characters."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote


def wrapped(arguments: Iterable[str], names: Collection[str]) -> list[str]:
    """The arguments with ``NAME=VALUE`` of these names written so that Hydra reads a string of letters and signs.

    In percent-encoding no comma, quote, bracket, equals sign, ``${`` or line end is left for a grammar to see.
    """
    return [_wrapped(*argument.partition("="), names) for argument in arguments]


def _wrapped(name: str, equals: str, value: str, names: Collection[str]) -> str:
    if name not in names or not equals:
        return name + equals + value
    return f"{name}='{quote(value, safe='', errors='surrogateescape')}'"


def unwrapped(settings: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The settings as they were typed."""
    return {
        name: unquote(value, errors="surrogateescape") if name in names and isinstance(value, str) else value
        for name, value in settings.items()
    }
