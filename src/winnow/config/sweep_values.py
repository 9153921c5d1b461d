"""The values of a sweep: what `glob`, `range`, `choice`, `sort` and `shuffle` of a command line stand for."""

from collections.abc import Iterable
from typing import cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Transformer, ValueType

from winnow.config.numbered import families, runnable
from winnow.errors import UserError

_RECIPE = "recipe"


def listed(overrides: Iterable[str], loader: ConfigLoader) -> list[str]:
    """The overrides, with all values of each sweep as a plain list: ``recipe=glob(oneshot9*)`` names four recipes.

    So the plan of a sweep and its jobs have the same values in the same order, also of a shuffled sweep.

    Raises:
        UserError: for a sweep without values, and for an interval, which does not have a list of them.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    return [_listed(each, loader) for each in parsed]


def _listed(override: Override, loader: ConfigLoader) -> str:
    typed = str(override.input_line)
    if override.is_interval_sweep():
        raise UserError(f"{typed}: an interval has no list of values; write some of them, or range(START,STOP,STEP).")
    if not override.is_sweep_override():
        return typed
    is_glob = override.value_type == ValueType.GLOB_CHOICE_SWEEP
    values = _matches(override, loader) if is_glob else list(override.sweep_string_iterator())
    if not values:
        raise UserError(f"{typed}: there is no value in it; a sweep needs one or more.")
    return f"{override.get_key_element()}={','.join(values)}"


def _matches(override: Override, loader: ConfigLoader) -> list[str]:
    """The options that a glob matches, sorted; of recipes those that run as they are, and numbered ones."""
    group = override.key_or_group
    options = loader.get_group_options(group)
    if not options:
        raise UserError(f"{override.input_line}: glob() chooses files of an option, such as recipe; {group} is none.")
    names = runnable(options) if group == _RECIPE else options
    found = cast(Glob, override.value()).filter(names)
    if not found:
        shown = list(families(options)) if group == _RECIPE else options
        raise UserError(f"{override.input_line} matches no {group}. There are {', '.join(shown)}.")
    return [str(Transformer.str(name)) for name in found]
