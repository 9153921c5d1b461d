"""Hydra's own errors as one short message: a mistyped option or setting, an override that cannot be read."""

import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from winnow.command_line import command_line
from winnow.commands.synonyms import synonym
from winnow.config.composed import plain_values
from winnow.config.numbered import NUMBERS, families, family_of, names_like
from winnow.errors import TRACES, UserError, describe, first_line, nearest, short_errors, wants_traces
from winnow.files.conf_folder import CONF

_OTHERS = {
    "task": " For your own data: task=text_classification task.data.path=FOLDER_OR_HUB_NAME.",
    "model": " A name of the hub (owner/name) or a folder works too.",
    "recipe": f" {NUMBERS}.",
    "teacher": " For another model: teacher=checkpoint teacher.name=FOLDER_OR_HUB_NAME.",
}


@contextmanager
def hydra_errors() -> Iterator[None]:
    """Around a command: every error becomes one short message and exit status 1.

    By default Hydra prints traces or long lists and exits. With HYDRA_FULL_ERROR set it raises its errors instead.
    """
    before = {name: os.environ.get(name) for name in (TRACES, "HYDRA_FULL_ERROR")}
    os.environ.setdefault(TRACES, before["HYDRA_FULL_ERROR"] or "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with short_errors(), described_errors():
            _check_flags(sys.argv[1:])
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def described_errors() -> Iterator[None]:
    """Raise an error of Hydra as a UserError with one short message."""
    try:
        yield
    except Exception as error:
        if wants_traces() or not _is_of_hydra(error):
            raise
        raise UserError(describe_hydra(error)) from error


def _check_flags(arguments: Sequence[str]) -> None:
    """Refuse what Hydra would answer with its usage: other tools have options such as ``--learning_rate 1e-4``."""
    flag = next((each for each in get_args_parser().parse_known_args(arguments)[1] if each.startswith("-")), None)
    if flag is not None:
        name, _, value = flag.lstrip("-").partition("=")
        written = f"{name.replace('-', '_')}={value or 'VALUE'}"
        raise UserError(f"{flag} is not an option; settings are written without dashes, as NAME=VALUE: {written}.")


def _is_of_hydra(error: BaseException) -> bool:
    """True for an error that Hydra or OmegaConf raised, of whatever type: `teacher=2` is a ValueError."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if isinstance(error, OmegaConfBaseException):  # raised anew in the frame of a resolver
        return True
    return frame.f_globals.get("__name__", "").partition(".")[0] in ("hydra", "omegaconf", "antlr4")


def describe_hydra(error: BaseException) -> str:
    """The message for the user: the wrong name or override, and the nearest correct name."""
    cause, first = error.__cause__, first_line(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(error)
    if isinstance(error, OverrideParseException):
        return (
            f"'{error.override}' cannot be read as NAME=VALUE; a value with blanks, brackets or other signs needs "
            "quotes: 'name=[a,b]', \"name='a b'\"."
        )
    if found := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'(?: requires --multirun)?$", first):
        return (
            f"'{found[1]}' has several values, which make a sweep: run it with '{command_line('train')} -m'; a single "
            "value with commas or parentheses needs quotes: \"name='a,b'\"."
        )
    if found := re.match(r"Could not append to config\. An item is already at '(.+)'", str(error)):
        return f"+{found[1]}: the setting exists already; leave the + out."
    if found := re.match(r"Could not delete from config\. '(.+)' does not exist", str(error)):
        return f"~{found[1]}: there is no such setting."
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return _unknown_setting(cause)
    if isinstance(error, OmegaConfBaseException):
        return _unresolved(error)
    return f"{first_line(error)}." if _is_of_hydra(error) and not isinstance(error, OSError) else describe(error)


def _unresolved(error: OmegaConfBaseException) -> str:
    """Hydra's settings refer to others (the run folder to the task); name the other setting if that one is wrong."""
    if error.parent_node is not None and str(error.full_key).startswith("hydra."):
        try:
            plain_values(error.parent_node._get_root())
        except UserError as cause:
            return str(cause)
    if missing := re.search(r"Interpolation key '([\w.]+)' not found", str(error)):
        return f"{missing[1]} must be given: {error.full_key} refers to it."
    return f"{error.full_key or 'the configuration'}: {first_line(error)}."


def _missing_option(error: MissingConfigException) -> str:
    found = re.fullmatch(r"(?:((?:hydra/)?\w+)/)?(.*)", str(error.missing_cfg_file))  # a name may be a path
    assert found is not None
    group, name = found.groups(default="")
    parent = re.match(r"In 'recipe/([^']+)'", str(error))
    if group == "recipe" and parent and parent[1] != name == family_of(parent[1]):
        name = parent[1]  # prune80_x names a family prune_x that does not exist
    options = sorted(error.options or [file.stem for file in (CONF / group).glob("*.yaml")])
    names, shown = (names_like(name, options), list(families(options))) if group == "recipe" else (options, options)
    there = f" There are {', '.join(shown)}." if options else ""
    what = group or "configuration"
    return f"{group or 'config'}={name}: there is no such {what}.{nearest(name, names)}{there}{_OTHERS.get(group, '')}"


def _unknown_setting(error: OmegaConfBaseException) -> str:
    """The setting that other tools call so, else the nearest one: compared by the last name, then by the full name."""
    typed = str(error.full_key)
    if error.parent_node is None:
        return f"{typed}: {first_line(error)}."
    composed = OmegaConf.to_container(error.parent_node._get_root(), resolve=False)
    paths = [*_settings(composed)]
    if written := synonym(typed, paths):
        return f"{typed} is not a setting. Did you mean '{written}'?"
    alike = [path for path in paths if nearest(_last(typed), [_last(path)]) and not path.startswith("hydra.")]
    return f"{typed} is not a setting ({first_line(error)}).{nearest(typed, alike)}"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _settings(section: Any, before: str = "") -> Iterator[str]:
    """The full names of all settings of a configuration."""
    for name, value in section.items():
        yield f"{before}{name}"
        if isinstance(value, dict):
            yield from _settings(value, f"{before}{name}.")
