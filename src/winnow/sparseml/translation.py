"""Translate a recipe of SparseML into native modifiers, with a note for everything that differs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.sparseml.modifier_check import check_modifier
from winnow.sparseml.modifier_schemas import SCHEMAS
from winnow.sparseml.modifier_translation import ModifierTranslation
from winnow.sparseml.native import NativeModifier
from winnow.sparseml.optimizer_modifiers import join_frozen, join_learning_rates, join_weight_decays
from winnow.sparseml.pruning_modifiers import (
    merge_equal_pruning,
    merge_layers,
    note_end_of_ramps,
    remove_constant_after_pruning,
)
from winnow.sparseml.quantization_modifiers import check_quantization
from winnow.sparseml.reading import RecipeFile, Stage, read_recipe
from winnow.sparseml.recipe_error import RecipeError


@dataclass
class Translation:
    """A translated recipe file.

    Args:
        path: of the file.
        num_epochs: of the whole training.
        natives: key in the native recipe -> native modifier.
        modifiers: every modifier of the file, in the order of the file.
        notes: on the recipe as a whole.
    """

    path: Path
    num_epochs: int
    natives: dict[str, NativeModifier]
    modifiers: list[ModifierTranslation]
    notes: list[str] = field(default_factory=list)

    def drop_distillation(self, reason: str) -> None:
        """Remove the modifiers that need a teacher."""
        for modifier in self.modifiers:
            if any(native.needs_teacher for native in modifier.natives):
                modifier.remove_natives(f"not used: {reason}")
        self.natives = {key: native for key, native in self.natives.items() if not native.needs_teacher}


def translate_file(path: str, variables: dict[str, Any], num_epochs: int | None) -> Translation:
    """Read and translate a file; ``num_epochs`` sets its variable of that name where a modifier uses it."""
    recipe = read_recipe(path, variables)
    if num_epochs is not None and "num_epochs" in recipe.used and "num_epochs" not in variables:
        recipe = read_recipe(path, {**variables, "num_epochs": num_epochs})
    return translate(recipe, num_epochs)


def translate(recipe: RecipeFile, num_epochs: int | None = None) -> Translation:
    """Translate all modifiers of a file.

    Args:
        num_epochs: of the training, if it is to be longer than the recipe.

    Raises:
        UserError: with the line, for an unknown modifier or parameter, or a value that is not allowed.
    """
    try:
        modifiers, notes = _modifiers_of_all_stages(recipe.stages)
        for modifier in modifiers:
            SCHEMAS[modifier.name].translate(modifier)
        total = _length(recipe, modifiers, num_epochs, notes)
        join_learning_rates(modifiers, total)
        join_weight_decays(modifiers)
        join_frozen(modifiers)
        check_quantization(modifiers, total)
        merge_layers(modifiers)
        remove_constant_after_pruning(modifiers)
        note_end_of_ramps(modifiers, total)
        merge_equal_pruning(modifiers)
    except RecipeError as error:
        raise error.in_file(recipe.path) from error
    notes.append("epochs are rounded to optimizer steps, also with gradient accumulation and data parallelism.")
    return Translation(recipe.path, total, _natives_by_key(modifiers), modifiers, notes)


def _modifiers_of_all_stages(stages: Sequence[Stage]) -> tuple[list[ModifierTranslation], list[str]]:
    """The modifiers with epochs of the whole training, in which the stages follow each other.

    SparseML writes stages whose epochs count from the start of training, users write epochs that count from the start
    of a stage; a stage that would start before the previous one ends is taken to be of the second kind.
    """
    modifiers: list[ModifierTranslation] = []
    notes: list[str] = []
    begin = 0.0
    for stage in stages:
        checked = [check_modifier(tagged) for tagged in stage.modifiers]
        ranges = [modifier.start for modifier in checked if modifier.name == "EpochRangeModifier"]
        starts = ranges or [modifier.start for modifier in checked if modifier.start != -1] or [0]
        shift = 0.0 if max(min(starts), 0) >= begin else begin
        end = max([begin, *(shift + epoch for epoch in _epochs(checked))])
        for modifier in checked:
            if modifier.start != -1:
                modifier.start += shift
            elif begin:
                modifier.start = begin
            if modifier.end != -1:
                modifier.end += shift
            elif stage is not stages[-1]:
                modifier.end = end
        if stage.name:
            moved = f", moved by {shift:g}" if shift else ""
            notes.append(f"stage {stage.name}: epochs {begin:g} to {end:g}{moved}.")
        modifiers += checked
        begin = float(math.ceil(end))
    return modifiers, notes


def _epochs(modifiers: Sequence[ModifierTranslation]) -> list[float]:
    """All epochs at which a modifier starts or ends."""
    return [epoch for modifier in modifiers for epoch in (modifier.start, modifier.end) if epoch != -1]


def _length(
    recipe: RecipeFile, modifiers: Sequence[ModifierTranslation], num_epochs: int | None, notes: list[str]
) -> int:
    """Epochs of the training: those of the recipe, rounded up, or ``num_epochs`` if that is larger."""
    longest = max(_epochs(modifiers), default=0)
    ranges = [modifier for modifier in modifiers if modifier.name == "EpochRangeModifier"]
    total = math.ceil(longest)
    if num_epochs is not None and num_epochs < total:
        remedy = (
            f"shorten it with recipe.variables.NAME=VALUE, where NAME is one of {', '.join(recipe.variables)}"
            if recipe.variables
            else "it has no variables, so edit the file or leave recipe.num_epochs out"
        )
        raise UserError(f"recipe.num_epochs={num_epochs}: {recipe.path} runs until epoch {longest:g}; {remedy}.")
    if not total and num_epochs is None:
        raise UserError(f"{recipe.path} does not define the length of training; add recipe.num_epochs=N.")
    if total != longest:
        notes.append(f"the recipe has {longest:g} epochs; training takes {total} whole epochs.")
    if ranges and max(modifier.end for modifier in ranges) < longest:
        notes.append(f"some modifiers end after the EpochRangeModifier; training takes {total} epochs, as in SparseML.")
    total = num_epochs or total
    if ranges and min(modifier.start for modifier in ranges) > 0:
        ranges[0].ignores("start_epoch: training starts at 0")
    for modifier in ranges:
        modifier.remove_natives(f"num_epochs: {total}")
    return total


def _natives_by_key(modifiers: Sequence[ModifierTranslation]) -> dict[str, NativeModifier]:
    """Readable keys: pruning, pruning_2, ...; learning rates are numbered in the order of time."""
    natives = [native for modifier in modifiers for native in modifier.natives]
    rates = sorted((n for n in natives if n.file == "learning_rate"), key=lambda n: max(n.settings["start_epoch"], 0))
    by_key: dict[str, NativeModifier] = {}
    for native in [*(n for n in natives if n.file != "learning_rate"), *rates]:
        number = 1 + sum(native.key == other.key for other in by_key.values())
        by_key[native.key if number == 1 else f"{native.key}_{number}"] = native
    return by_key
