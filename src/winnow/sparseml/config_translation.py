"""``recipe=sparseml recipe.path=FILE``: replace the recipe of a composed configuration by the translated file."""

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from winnow.sparseml.recipe_files import recipe_name
from winnow.sparseml.translation import translate_file
from winnow.sparseml.translation_report import report
from winnow.values import Epochs, check_value


def translate_config(config: DictConfig) -> tuple[DictConfig, dict[str, Any]]:
    """Translate the recipe file that a configuration names.

    Args:
        config: as composed; ``recipe.path`` is the file, ``recipe.variables`` override its variables.

    Returns:
        The configuration with a native recipe; and the ``report``, with the keys of the ``modifiers`` from the file.
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(config))
    recipe, teacher = plain["recipe"], plain["teacher"]
    path = str(recipe.pop("path"))
    if recipe["num_epochs"] is not None:
        check_value("recipe.num_epochs", Epochs, recipe["num_epochs"])
    translation = translate_file(path, recipe.pop("variables") or {}, recipe["num_epochs"])
    if teacher["kind"] == "none":
        translation.drop_distillation("teacher=none")
    elif not any(native.needs_teacher for native in translation.natives.values()):
        translation.notes.append(f"teacher={teacher['kind']} is not used: the file has no distillation.")
        plain["teacher"] = {"kind": "none"}
    recipe.pop("distillation", None)  # the file alone decides about distillation
    if recipe["name"] == "sparseml":
        recipe["name"] = recipe_name(path)
    recipe["num_epochs"] = translation.num_epochs
    recipe |= {key: native.node() for key, native in translation.natives.items()}
    return OmegaConf.create(plain), {"report": report(translation), "modifiers": list(translation.natives)}
