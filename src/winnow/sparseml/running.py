"""``recipe=sparseml recipe.path=FILE``: the composed configuration with the translated recipe in place of the file."""

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from winnow.ranges import check_range
from winnow.sparseml.reading import read_recipe
from winnow.sparseml.translation import Translation, translate
from winnow.sparseml.translation_report import report


def translated(config: DictConfig) -> tuple[DictConfig, dict[str, Any]]:
    """A configuration whose recipe names a file, with what the file says instead.

    Args:
        config: as composed; ``recipe.path`` is the file, ``recipe.variables`` are put in place of its variables.

    Returns:
        The same with a native recipe; and the report, with the keys that come from the file.
    """
    plain: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    recipe, teacher = plain["recipe"], plain["teacher"]
    path = str(recipe.pop("path"))
    if recipe["num_epochs"] is not None:
        check_range("num_epochs", recipe["num_epochs"], "recipe.num_epochs")
    translation = translate_file(path, recipe.pop("variables") or {}, recipe["num_epochs"])
    distils = any(native.needs_teacher for native in translation.modifiers.values())
    if teacher["kind"] == "none":
        translation.drop_distillation("teacher=none")
    elif not distils:
        translation.notes.append(f"teacher={teacher['kind']} is not used: the file has no distillation.")
        plain["teacher"] = {"kind": "none"}
    recipe.pop("distillation", None)  # a file that has none distils nothing; its rates take the place of the default
    if recipe["name"] == "sparseml":
        recipe["name"] = recipe_name(path)
    recipe["num_epochs"] = translation.num_epochs
    recipe |= {key: native.node() for key, native in translation.modifiers.items()}
    account = {"report": report(translation), "modifiers": list(translation.modifiers)}
    return OmegaConf.create(plain), account


def translate_file(path: str, variables: dict[str, Any], num_epochs: int | None) -> Translation:
    """Read and translate a file; ``num_epochs`` sets its variable of that name where a modifier uses it."""
    recipe = read_recipe(path, variables)
    if num_epochs is not None and "num_epochs" in recipe.used and "num_epochs" not in variables:
        recipe = read_recipe(path, {**variables, "num_epochs": num_epochs})
    return translate(recipe, num_epochs)


def recipe_name(path: str | Path) -> str:
    """What a recipe file is called in results: its name without the ending, in letters that a command line takes."""
    return re.sub(r"[^\w-]+", "_", Path(path).stem)
