"""Recipes with a number in their name: prune85 is the family conf/recipe/prune.yaml with pruning.final_sparsity 0.85.

Hydra reads such names through the config source `NumberedRecipes`; importing this module adds it to every search path.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from winnow.config.name_source import NameSource, register
from winnow.errors import UserError
from winnow.files.conf_folder import CONF

# Word in a name -> section and setting that its number becomes.
_PRUNING = ("prune", "gmp", "oneshot", "cyclic", "movement", "acdc", "obs")
_SETTINGS = dict.fromkeys(_PRUNING, ("pruning", "final_sparsity"))
_SETTINGS |= {"transfer": ("pruning", "min_sparsity"), "layers": ("layers", "keep")}
_SETTINGS |= {"fast": ("structure", "target_speedup")}
_WORD = rf"(?:^|(?<=_))({'|'.join(_SETTINGS)})"
_NUMBERED = re.compile(_WORD + r"([1-9]\d?)(?=_|$)")
_UNNUMBERED = re.compile(_WORD + r"(?=_|$)")

_GROUP = "recipe"
_SPARSITIES = (80, 90, 95, 97, 99)  # in percent, of published tables; the first is an example
_WHOLE = {"layers": (6, 1, 3, 9), "fast": (4, 2, 8)}  # the same for numbers that are not percentages
NUMBERS = "<N> is a sparsity in percent, a number of layers or a speedup"  # in the names of `families`


def is_recipe(name: str) -> bool:
    """True for the name of a shipped recipe, with its number where its family needs one."""
    return family_of(name) in _shipped() and not _lacks_number(name)


def family_of(name: str) -> str:
    """The name of the file of a family, e.g. layers_prune of layers6_prune83."""
    return _NUMBERED.sub(r"\1", name)


def names_like(name: str, files: Iterable[str]) -> list[str]:
    """Valid names to suggest for a mistyped one: each family with the numbers that were typed, 80 % and 6 layers."""
    digits = (number.translate(str.maketrans("oOlI", "0011")) for number in re.findall(r"\d[\doOlI]*", name))
    typed = {max(1, min(99, int(number))) for number in digits}
    found = []
    for family in files:
        if _stands_alone(family):
            found.append(family)
        choices = [{_published(word)[0]} | typed for word in _UNNUMBERED.findall(family)]
        found += [_with_numbers(family, numbers) for numbers in itertools.product(*choices) if numbers]
    return found


def families(names: Iterable[str]) -> Iterator[str]:
    """Files of recipe/ as a user types them, e.g. prune<N>_quant for prune_quant."""
    for family in names:
        if _stands_alone(family):
            yield family
        if family in _shipped() and _UNNUMBERED.search(family):
            yield _UNNUMBERED.sub(r"\1<N>", family)


def runnable(names: Iterable[str]) -> list[str]:
    """Recipes to choose by a pattern: files of recipe/ that need no number, and families with published numbers.

    Args:
        names: of the files.
    """
    found = set()
    for family in names:
        if _stands_alone(family):
            found.add(family)
        words = _UNNUMBERED.findall(family) if family in _shipped() else []
        choices = [_published(word) for word in words]
        found |= {_with_numbers(family, numbers) for numbers in itertools.product(*choices) if numbers}
    return sorted(found)


def check_number(composed: DictConfig) -> None:
    """Refuse a family that was chosen without its number, unless the command line sets what the number would be.

    Raises:
        UserError: with an example of the full name.
    """
    plain = OmegaConf.to_container(composed, resolve=False)  # other values may be wrong
    recipe = plain.get("recipe") if isinstance(plain, dict) else None
    sections = recipe if isinstance(recipe, dict) else {}
    name, layers, pruning = str(sections.get("name")), sections.get("layers"), sections.get("pruning")
    example = _UNNUMBERED.sub(lambda word: f"{word[1]}{_published(word[1])[0]}", name)
    structure = sections.get("structure")
    if example != name and isinstance(structure, dict) and structure.get("target_speedup") == "???":
        raise UserError(f"recipe={name} needs a speedup in its name, such as {example}.")
    if example != name and isinstance(layers, dict) and layers.get("keep") is layers.get("drop") is None:
        raise UserError(f"recipe={name} needs the number of layers to keep in its name, such as {example}.")
    if example != name and isinstance(pruning, dict) and pruning.get("final_sparsity") == "???":
        raise UserError(f"recipe={name} needs a sparsity in its name, such as {example}.")


def check_not_hidden() -> None:
    """Refuse a shipped recipe with the name of a file in a folder of the user: Hydra reads only the shipped one.

    Raises:
        UserError: with the file to rename.
    """
    if not HydraConfig.initialized():
        return
    runtime = HydraConfig.get().runtime
    name = str(runtime.choices.get(_GROUP))
    for source in runtime.config_sources:
        file = Path(source.path) / _GROUP / f"{name}.yaml"
        if source.schema == "file" and source.path != str(CONF) and file.is_file() and is_recipe(name):
            raise UserError(f"recipe={name} is a shipped recipe, so {file} is not read; rename the file.")


def _settings(name: str) -> dict[str, dict[str, float]]:
    """The settings in a name, e.g. of layers6_prune83: {'layers': {'keep': 6}, 'pruning': {'final_sparsity': 0.83}}."""
    found = {}
    for word, number in _NUMBERED.findall(name):
        section, setting = _SETTINGS[word]
        found[section] = {setting: int(number) if word in _WHOLE else int(number) / 100}
    return found


def _published(word: str) -> tuple[int, ...]:
    return _WHOLE.get(word, _SPARSITIES)


def _with_numbers(family: str, numbers: Iterable[object]) -> str:
    each = iter(numbers)
    return _UNNUMBERED.sub(lambda word: f"{word[1]}{next(each)}", family)


def _shipped() -> set[str]:
    return {path.stem for path in (CONF / _GROUP).glob("*.yaml")}


def _lacks_number(name: str) -> bool:
    return any(word != "transfer" for word in _UNNUMBERED.findall(name))  # which may go without


def _stands_alone(family: str) -> bool:
    """True for a file of recipe/ whose own name is a recipe: a file of the user may set the number itself."""
    return family not in _shipped() or not _lacks_number(family)


class NumberedRecipes(NameSource):
    """Recipes made from the number in their name and the file of their family."""

    group = _GROUP

    @staticmethod
    def scheme() -> str:
        return "numbered"

    def has(self, name: str) -> bool:
        return bool(_NUMBERED.search(name))

    def content(self, name: str) -> dict[str, Any]:
        return {"defaults": [family_of(name), "_self_"], "name": name, **_settings(name)}


register(NumberedRecipes)
