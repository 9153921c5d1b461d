"""Translation of SparseML's learning rates, weight decays and frozen parameters."""

from itertools import pairwise
from typing import Any

from winnow.errors import nearest
from winnow.sparseml.modifier_translation import ModifierTranslation, translated_to
from winnow.sparseml.native import NativeModifier
from winnow.sparseml.parameters import ALL, PRUNABLE, Kind, has_keyword, learning_rate, numbers, positive
from winnow.sparseml.recipe_error import RecipeError

# The classes that LearningRateModifier supports, with their lr_kwargs, all of them required.
LR_CLASSES: dict[str, dict[str, Kind]] = {
    "StepLR": {"gamma": positive, "step_size": positive},
    "MultiStepLR": {"gamma": positive, "milestones": numbers},
    "ExponentialLR": {"gamma": positive},
    "CosineAnnealingWarmRestarts": {"lr_min": learning_rate, "cycle_epochs": positive},
}


def learning_rate_function(modifier: ModifierTranslation) -> None:
    if modifier.first_epoch == modifier.end:
        raise modifier.error(f"start_epoch and end_epoch are both {modifier.end:g}; end_epoch must come later.")
    schedule = modifier.values["lr_func"]
    cycles = {"cycle_epochs": modifier.values.get("cycle_epochs", 1.0)} if schedule.startswith("cyclic") else {}
    rates = modifier.values["init_lr"], modifier.values["final_lr"]
    modifier.natives.append(_schedule(schedule, *rates, modifier.start, modifier.end, **cycles))


def set_learning_rate(modifier: ModifierTranslation) -> None:
    modifier.natives.append(_constant(modifier.values["learning_rate"], modifier.start, -1))
    _note_groups(modifier)


def learning_rate_class(modifier: ModifierTranslation) -> None:
    name, rate, kwargs = (modifier.values[key] for key in ("lr_class", "init_lr", "lr_kwargs"))
    window = modifier.start, modifier.end
    _check_kwargs(modifier, name, kwargs)
    if name == "MultiStepLR":
        _add_milestones(modifier, rate, kwargs["gamma"], kwargs["milestones"])
    elif name == "CosineAnnealingWarmRestarts":
        cycle = kwargs["cycle_epochs"]
        modifier.natives.append(_schedule("cyclic_cosine", rate, kwargs["lr_min"], *window, cycle_epochs=cycle))
    else:
        steps = {"step_epochs": kwargs.get("step_size", 1.0), "gamma": kwargs["gamma"]}
        modifier.natives.append(_schedule("step", rate, None, *window, **steps))


def _check_kwargs(modifier: ModifierTranslation, name: str, kwargs: dict[str, Any]) -> None:
    allowed = LR_CLASSES[name]
    for key in kwargs:
        if key not in allowed:
            listed = ", ".join(allowed)
            raise modifier.error(f"lr_kwargs of {name} has no {key}; it has {listed}.{nearest(str(key), allowed)}")
    for key, kind in allowed.items():
        if key not in kwargs:
            raise modifier.error(f"lr_kwargs of {name} needs {key}.")
        try:
            kind(kwargs[key])
        except RecipeError as error:
            raise modifier.error(f"lr_kwargs: {key} {error}") from error


def _add_milestones(modifier: ModifierTranslation, rate: float, gamma: float, milestones: list[float]) -> None:
    """A constant rate until each milestone, multiplied by ``gamma`` there."""
    edges = [modifier.start, *(milestone + modifier.stage_shift for milestone in milestones), modifier.end]
    if any(after != -1 and before >= after for before, after in pairwise(edges)):
        raise modifier.error(
            f"lr_kwargs: milestones {milestones} must increase and lie between start_epoch and end_epoch."
        )
    for i, (start, end) in enumerate(pairwise(edges)):
        modifier.natives.append(_constant(_decayed(modifier, rate, gamma, i), start, end))


def _constant(rate: float | str, start: float, end: float) -> NativeModifier:
    return _schedule("constant", rate, rate, start, end)


def _schedule(
    schedule: str, initial: float | str, final: float | str | None, start: float, end: float, **more: float
) -> NativeModifier:
    rates = {"initial_learning_rate": initial} | ({} if final is None else {"final_learning_rate": final})
    window = {"start_epoch": start, "end_epoch": end}
    return NativeModifier("learning_rate", {"schedule": schedule, **rates, **window, "warmup": 0.0, **more})


def join_learning_rates(modifiers: list[ModifierTranslation], total: int) -> None:
    """Let each learning rate last until the next one starts, as an optimizer keeps its rate.

    Args:
        total: epochs of the training.
    """
    rates = translated_to(modifiers, "learning_rate")
    rates.sort(key=lambda modifier: (modifier.first_epoch, modifier.natives[-1].settings["end_epoch"] != -1))
    for modifier, after in pairwise(rates):
        _end_before(after, modifier)
    rates = [modifier for modifier in rates if modifier.natives]
    if rates and rates[0].start > 0:
        rates[0].natives.insert(0, _constant("${..optimizer.learning_rate}", 0.0, rates[0].start))
        rates[0].note("recipe.optimizer.learning_rate applies until then")
    starts = [modifier.natives[0].settings["start_epoch"] for modifier in rates[1:]]
    for modifier, following in zip(rates, [*starts, total], strict=False):
        last = modifier.natives[-1].settings
        if -1 < last["end_epoch"] < following:
            rate = _rate_at_end(modifier, last)
            modifier.natives.append(_constant(rate, last["end_epoch"], following))
            modifier.note(f"the learning rate stays {rate:g} after its end")


def _end_before(after: ModifierTranslation, modifier: ModifierTranslation) -> None:
    """End a learning rate where the next one starts; two of them must not overlap."""
    last = modifier.natives[-1].settings
    if last["end_epoch"] == -1 and max(last["start_epoch"], 0) < after.first_epoch:
        last["end_epoch"] = after.start
    elif last["end_epoch"] == -1 and len(modifier.natives) == 1:
        modifier.remove_natives(f"no modifier: the learning rate of line {after.line} replaces it at once")
    elif last["end_epoch"] == -1 or last["end_epoch"] > after.first_epoch:
        raise after.error(
            f"this learning rate starts at epoch {after.first_epoch:g}, before the one of line {modifier.line} ends; "
            "end one where the other starts."
        )


def _rate_at_end(modifier: ModifierTranslation, settings: dict[str, Any]) -> float:
    if settings["schedule"] != "step":
        rate: float = settings["final_learning_rate"]
        return rate
    steps = (settings["end_epoch"] - max(settings["start_epoch"], 0)) // settings["step_epochs"]
    return _decayed(modifier, settings["initial_learning_rate"], settings["gamma"], steps)


def _decayed(modifier: ModifierTranslation, rate: float, gamma: float, times: float) -> float:
    """``rate * gamma**times`` without floating-point noise in the last digits: 1e-3 * 0.1 is 1e-4."""
    try:
        return float(learning_rate(float(f"{rate * gamma**times:.12g}")))
    except (OverflowError, RecipeError) as error:
        raise modifier.error(f"lr_kwargs: gamma {gamma:g} makes the learning rate larger than 1.") from error


def weight_decay(modifier: ModifierTranslation) -> None:
    decay = modifier.values["weight_decay"]
    modifier.add("weight_decay", weight_decay=decay, start_epoch=modifier.start, end_epoch=-1)
    modifier.differs("biases and layer norms keep a weight decay of 0")
    _note_groups(modifier)


def join_weight_decays(modifiers: list[ModifierTranslation]) -> None:
    """Let each weight decay last until the next one starts."""
    for modifier, after in pairwise(translated_to(modifiers, "weight_decay")):
        modifier.natives[0].settings["end_epoch"] = after.start
        if after.first_epoch == modifier.first_epoch:
            modifier.remove_natives(f"no modifier: the weight decay of line {after.line} replaces it at once")


def _note_groups(modifier: ModifierTranslation) -> None:
    if modifier.values.get("param_groups"):
        modifier.differs("it applies to all parameters, not only to param_groups")


def trainable(modifier: ModifierTranslation) -> None:
    if has_keyword(modifier.written["params"], [PRUNABLE]):
        raise modifier.error(f"params must be names, re: patterns or {ALL}; {PRUNABLE} is only for pruning.")
    if not modifier.values["trainable"]:
        window = {"start_epoch": modifier.start, "end_epoch": modifier.end}
        modifier.add("frozen", params=modifier.values["params"], **window)
    if not modifier.values.get("params_strict", True):
        modifier.differs("params_strict: False has no effect; every name or pattern must match a parameter")


def join_frozen(modifiers: list[ModifierTranslation]) -> None:
    """Let ``trainable: True`` end an earlier ``trainable: False`` of the same parameters."""
    for modifier in modifiers:
        if modifier.name != "TrainableParamsModifier" or modifier.values["trainable"] is False:
            continue
        ended = []
        for earlier in translated_to(modifiers, "frozen"):
            settings = earlier.natives[0].settings
            overlaps = settings["end_epoch"] == -1 or settings["end_epoch"] > modifier.first_epoch
            same = settings["params"] == modifier.values["params"]
            if same and earlier.first_epoch < modifier.first_epoch and overlaps:
                settings["end_epoch"] = modifier.start
                ended.append(str(earlier.line))
        modifier.remove_natives(
            f"ends the freezing of line {', '.join(ended)}"
            if ended
            else "no modifier: parameters that are not frozen are trained"
        )
