"""The plan of a recipe before it runs, from the same windows and formulas by which its modifiers act."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from winnow.config.recipe import Recipe
from winnow.modifiers.clock import Clock
from winnow.modifiers.conflicts import refuse_conflicts
from winnow.modifiers.modifier import Modifier, build_modifiers, event_row

_POINTS = 1000  # of a curve, beside the steps of events


def rehearse(recipe: Recipe, model: nn.Module, clock: Clock) -> list[Modifier]:
    """The modifiers of a recipe, matched with a model and with their windows in steps.

    Args:
        model: a copy of the student, or a model without weights; its structure is changed as the recipe says.
        clock: of the run.

    Raises:
        UserError: for a recipe that cannot run on this model.
    """
    modifiers = build_modifiers(recipe)
    for modifier in modifiers:
        modifier.match(model)
        modifier.begin(clock)
    refuse_conflicts(modifiers, "recipe.")
    return modifiers


def planned_events(modifiers: Sequence[Modifier]) -> list[dict[str, Any]]:
    """All events in the order in which they will happen, as rows of `winnow.modifiers.modifier.event_row`.

    Args:
        modifiers: in the order in which they act, after ``match`` and ``begin``.
    """
    rows = [
        event_row(modifier, event, learning_rate(modifiers, event.step))
        for modifier in modifiers
        for event in modifier.events()
    ]
    return sorted(rows, key=lambda row: row["step"])


def learning_rate(modifiers: Sequence[Modifier], step: int) -> float | None:
    """The learning rate after ``step`` optimizer steps, by the last schedule that has begun; None before the first."""
    rates = [curves["learning rate"] for m in modifiers if "learning rate" in (curves := m.curves(step))]
    return rates[-1] if rates else None


def planned_matches(modifiers: Sequence[Modifier]) -> dict[str, list[dict[str, Any]]]:
    """Name, shape and size of the parameters that each modifier acts on, by modifier."""
    return {
        modifier.name: [{"name": n, "shape": list(p.shape), "size": p.numel()} for n, p in modifier.matched().items()]
        for modifier in modifiers
        if modifier.matched()
    }


def planned_costs(modifiers: Sequence[Modifier]) -> dict[str, str]:
    """What each update of a modifier takes, where that is worth a word, by modifier."""
    return {modifier.name: cost for modifier in modifiers if (cost := modifier.cost())}


def planned_zeros(modifiers: Sequence[Modifier]) -> int:
    """Zeros at the end of the run in the matrices of all pruners; the last pruner of a matrix counts.

    Zeros of the starting model are not known and not counted.
    """
    last = {name: m for m in sorted(modifiers, key=lambda m: m.window.end) for name in m.matched()}
    zeros = 0.0
    for modifier in modifiers:
        sparsity = [event.sparsity for event in modifier.events() if event.sparsity is not None][-1:]
        size = sum(p.numel() for name, p in modifier.matched().items() if last[name] is modifier)
        zeros += size * sum(sparsity)
    return round(zeros)


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Number of parameters of the embeddings, the layers, the pooler and head; ``all`` is their sum."""
    counts = {"embeddings": 0, "layers": 0, "pooler and head": 0}
    for name, parameter in model.named_parameters():
        part = "embeddings" if "embeddings" in name.split(".") else "pooler and head"
        counts["layers" if ".layer." in name or ".layers." in name else part] += parameter.numel()
    return {**counts, "all": sum(counts.values())}


def planned_curves(modifiers: Sequence[Modifier]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Quantity -> line -> (epoch, value) points; the learning rate is one line, others have one for each modifier."""
    clock = modifiers[0].clock
    every = max(1, clock.total_steps // _POINTS)
    steps = {*range(0, clock.total_steps, every), clock.total_steps}
    for event in (event for modifier in modifiers for event in modifier.events()):
        steps |= {event.step, max(0, event.step - 1)}  # so that a jump is drawn as a jump
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for step in sorted(steps):
        values = {(quantity, _line(quantity, m)): v for m in modifiers for quantity, v in m.curves(step).items()}
        for (quantity, line), value in values.items():
            curves.setdefault(quantity, {}).setdefault(line, []).append((clock.epoch(step), value))
    return curves


def _line(quantity: str, modifier: Modifier) -> str:
    return quantity if quantity == "learning rate" else modifier.name
