"""The command and the recipe of a run for publication: local files and folders become placeholders."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from winnow.config.model_names import names_model
from winnow.errors import visible
from winnow.files.hub_cards import hub_name
from winnow.path_arguments import PATHS

PLACE = "<path>"
_CALIBRATION = "calibration"  # the setting of a modifier that names a file
_OF_THE_RESULT = re.compile(r"[+~]*(task|model|recipe|dense|teacher|trainer|training|modifier|experiment|seed)\b")


def published_command(command: str) -> str:
    """The overrides of a training that decide its result; other ones may name places, accounts and hosts."""
    try:
        words = shlex.split(command)
    except ValueError:  # result.json was edited
        words = []
    overrides = [each for each in words if ("=" in each or each.startswith("~")) and _OF_THE_RESULT.match(each)]
    return _fenced(shlex.join(["winnow", "train", *map(_published, overrides)]))


def published_recipe(recipe: Mapping[str, Any]) -> str:
    """The settings of a recipe as YAML, without those that are null."""
    return _fenced(yaml.safe_dump(_without_places(recipe), sort_keys=False))


def _published(override: str) -> str:
    name, equals, value = override.partition("=")
    if _may_be_local(name, value) and not hub_name(value, "dataset" if name == "task.data.path" else "model"):
        return f"{name}{equals}{PLACE}"
    return override


def _may_be_local(name: str, value: str) -> bool:
    if name == "model" and not names_model(value):  # a file of conf/model
        return False
    return value != "null" and (PATHS.fullmatch(name) is not None or _is_place(value))


def _without_places(node: Any) -> Any:
    if isinstance(node, Mapping):
        kept = {name: _without_places(value) for name, value in node.items() if value is not None}
        return kept | ({_CALIBRATION: PLACE} if _CALIBRATION in kept else {})
    if isinstance(node, list):
        return [*map(_without_places, node)]
    return PLACE if isinstance(node, str) and _is_place(node) else node


def _is_place(text: str) -> bool:
    return "/" in text or text.startswith("~")


def _fenced(text: str) -> str:
    """Text for a block of code in Markdown, which it cannot end."""
    return visible(text).replace("`", "'").strip()
