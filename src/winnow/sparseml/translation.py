"""A recipe of SparseML as native modifiers, with an account of every line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from winnow.errors import UserError
from winnow.sparseml.expressions import RecipeError
from winnow.sparseml.native import Native
from winnow.sparseml.optimizer_modifiers import settle_frozen, settle_learning_rates, settle_weight_decays
from winnow.sparseml.pruning_modifiers import (
    join_alike,
    join_layers,
    leave_out_constant_after_pruning,
    say_where_it_ends,
)
from winnow.sparseml.quantization_modifiers import settle_quantization
from winnow.sparseml.reading import RecipeFile, Stage, located
from winnow.sparseml.steps import Step
from winnow.sparseml.vocabulary import KNOWN, checked


@dataclass
class Translation:
    """What a recipe file becomes.

    Args:
        path: of the file.
        num_epochs: of the whole training.
        modifiers: key in the native recipe -> modifier.
        steps: every modifier of the file, in its order.
        notes: on the recipe as a whole.
    """

    path: Path
    num_epochs: int
    modifiers: dict[str, Native]
    steps: list[Step]
    notes: list[str] = field(default_factory=list)

    def drop_distillation(self, reason: str) -> None:
        """Leave out what needs a teacher, and say why."""
        for step in self.steps:
            if any(native.needs_teacher for native in step.natives):
                step.leave(f"not used: {reason}")
        self.modifiers = {key: native for key, native in self.modifiers.items() if not native.needs_teacher}


def translate(recipe: RecipeFile, num_epochs: int | None = None) -> Translation:
    """Native modifiers for all modifiers of a file.

    Args:
        recipe: as read.
        num_epochs: of the training, where it is to be longer than the file's.

    Raises:
        UserError: with the line, for a modifier or a parameter that is not known, or a value that cannot be.
    """
    try:
        steps, notes = _steps_of_all_stages(recipe.stages)
        for step in steps:
            KNOWN[step.name].translate(step)
        total = _length(recipe, steps, num_epochs, notes)
        settle_learning_rates(steps, total)
        settle_weight_decays(steps)
        settle_frozen(steps)
        settle_quantization(steps, total)
        join_layers(steps)
        leave_out_constant_after_pruning(steps)
        say_where_it_ends(steps, total)
        join_alike(steps)
    except RecipeError as error:
        raise located(recipe.path, error) from error
    notes.append("epochs are counted in whole optimizer steps, also under accumulation and data parallelism.")
    return Translation(recipe.path, total, _named(steps), steps, notes)


def _steps_of_all_stages(stages: Sequence[Stage]) -> tuple[list[Step], list[str]]:
    """The modifiers with their epochs in the whole training: the stages run one after the other.

    SparseML itself writes stages with epochs that count from the start of training, people write them from the
    start of the stage; a stage that would begin before the ones above it end is taken to be of the second kind.
    """
    steps: list[Step] = []
    notes: list[str] = []
    begin = 0.0
    for stage in stages:
        own = [checked(tagged) for tagged in stage.modifiers]
        ranges = [step.start for step in own if step.name == "EpochRangeModifier"]
        starts = ranges or [step.start for step in own if step.start != -1] or [0]
        shift = 0.0 if max(min(starts), 0) >= begin else begin
        end = max([begin, *(shift + epoch for epoch in _epochs(own))])
        for step in own:
            if step.start != -1:
                step.start += shift
            elif begin:
                step.start = begin
            if step.end != -1:
                step.end += shift
            elif stage is not stages[-1]:
                step.end = end
        if stage.name:
            moved = f", moved by {shift:g}" if shift else ""
            notes.append(f"stage {stage.name}: epochs {begin:g} to {end:g}{moved}.")
        steps += own
        begin = float(math.ceil(end))
    return steps, notes


def _epochs(steps: Sequence[Step]) -> list[float]:
    """All epochs at which something begins or ends."""
    return [epoch for step in steps for epoch in (step.start, step.end) if epoch != -1]


def _length(recipe: RecipeFile, steps: Sequence[Step], asked: int | None, notes: list[str]) -> int:
    longest = max(_epochs(steps), default=0)
    ranges = [step for step in steps if step.name == "EpochRangeModifier"]
    total = math.ceil(longest)
    if asked is not None and asked < total:
        raise UserError(
            f"recipe.num_epochs={asked}: {recipe.path} goes on to epoch {longest:g}; shorten it with its variables: "
            f"recipe.variables.NAME=VALUE, with one of {', '.join(recipe.variables) or 'none, it has no variables'}."
        )
    if not total and asked is None:
        raise UserError(f"{recipe.path} does not say how long to train; add recipe.num_epochs=N.")
    if total != longest:
        notes.append(f"the recipe has {longest:g} epochs; training takes {total}, whole ones.")
    if ranges and max(step.end for step in ranges) < longest:
        notes.append(
            f"some modifiers go beyond the EpochRangeModifier; the training takes {total} epochs, as in SparseML."
        )
    total = asked or total
    if ranges and min(step.start for step in ranges) > 0:
        ranges[0].ignores("start_epoch: training begins at 0")
    for step in ranges:
        step.leave(f"num_epochs: {total}")
    return total


def _named(steps: Sequence[Step]) -> dict[str, Native]:
    """Readable keys: pruning, pruning_2, ...; learning rates are numbered in the order in which they follow."""
    natives = [native for step in steps for native in step.natives]
    rates = sorted((n for n in natives if n.file == "learning_rate"), key=lambda n: max(n.settings["start_epoch"], 0))
    named: dict[str, Native] = {}
    for native in [*(n for n in natives if n.file != "learning_rate"), *rates]:
        number = 1 + sum(native.word == other.word for other in named.values())
        named[native.word if number == 1 else f"{native.word}_{number}"] = native
    return named
