"""Paths on a command line of Hydra: one with ``=``, ``(``, ``#`` or blanks is taken as it is typed."""

import os
import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

PATHS = re.compile(  # settings with the path of a file or folder, or a name of the hub
    r"\+*(task\.data\.(path|files\.\w+)|model(\.name)?|teacher\.name|recipe\.(path|\w+\.calibration)|output_dir|cache\.folder|export\.data|"
    r"hydra\.(run|sweep)\.dir|hydra\.sweep\.subdir|plan\.(json|picture)|sensitivity\.folder)"
)


def literal_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, with quotes around each path that Hydra's grammar cannot parse, or would parse as another value.

    Of the second kind only a path that exists is quoted; so ``task.data.path=a,b`` is a folder, if there is one of this
    name. In a sweep (``-m``) it is always two values, and so are two paths that exist and need quotes.
    """
    in_sweep = not {"-m", "--multirun"}.isdisjoint(arguments)
    return [_literal(argument, in_sweep) for argument in arguments]


def _literal(argument: str, in_sweep: bool) -> str:
    name, _, value = argument.partition("=")
    if not value or value == "null" or not PATHS.fullmatch(name):
        return argument
    parsed = _parsed(argument)
    if _exists(value) and not (in_sweep and parsed and parsed.is_sweep_override()):
        literal = value.replace("${", r"\${")  # else OmegaConf would resolve it
        unchanged = parsed is not None and parsed.value() == literal
        return argument if unchanged else f"{name}={_quoted(literal)}"
    if parsed is not None:
        return argument
    parts = value.split(",") if in_sweep else []
    return f"{name}={','.join(map(_quoted, parts if parts and all(map(_exists, parts)) else [value]))}"


def _exists(path: str) -> bool:
    return os.path.exists(os.path.expanduser(path))


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _quoted(value: str) -> str:
    return QuotedString(value, Quote.single).with_quotes()
