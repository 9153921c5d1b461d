"""Arguments whose values Hydra must not parse, such as a text with commas and quotes."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote


def encoded(arguments: Iterable[str], names: Collection[str]) -> list[str]:
    """The arguments, with the value of each ``NAME=VALUE`` of these names percent-encoded.

    Percent-encoding leaves no comma, quote, bracket, equals sign, ``${`` or line end for Hydra's grammar to parse.
    """
    return [_encoded(*argument.partition("="), names) for argument in arguments]


def _encoded(name: str, equals: str, value: str, names: Collection[str]) -> str:
    if name not in names or not equals:
        return name + equals + value
    return f"{name}='{quote(value, safe='', errors='surrogateescape')}'"


def decoded(settings: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The settings, with the values of these names decoded."""
    return {
        name: unquote(value, errors="surrogateescape") if name in names and isinstance(value, str) else value
        for name, value in settings.items()
    }
