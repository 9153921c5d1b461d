"""SparseML's learning rates, weight decays and frozen parameters: what the optimizer does and when."""

from itertools import pairwise
from typing import Any

from winnow.errors import nearest
from winnow.sparseml.expressions import RecipeError
from winnow.sparseml.native import Native
from winnow.sparseml.parameters import ALL, PRUNABLE, Kind, has_word, learning_rate, numbers, positive, within
from winnow.sparseml.steps import Step, steps_into

# The classes that LearningRateModifier knows, and their lr_kwargs, all of them required.
LR_CLASSES: dict[str, dict[str, Kind]] = {
    "StepLR": {"gamma": positive, "step_size": within("update_frequency")},
    "MultiStepLR": {"gamma": positive, "milestones": numbers},
    "ExponentialLR": {"gamma": positive},
    "CosineAnnealingWarmRestarts": {"lr_min": learning_rate, "cycle_epochs": within("update_frequency")},
}


def learning_rate_function(step: Step) -> None:
    if step.first_epoch == step.end:
        raise step.error(f"start_epoch and end_epoch are both {step.end:g}; end_epoch must come later.")
    schedule = step.values["lr_func"]
    cycles = {"cycle_epochs": step.values.get("cycle_epochs", 1.0)} if schedule.startswith("cyclic") else {}
    rates = step.values["init_lr"], step.values["final_lr"]
    step.natives.append(_schedule(schedule, *rates, step.start, step.end, **cycles))


def set_learning_rate(step: Step) -> None:
    rate = step.values["learning_rate"]
    step.natives.append(_schedule("constant", rate, rate, step.start, -1))
    _say_groups(step)


def learning_rate_class(step: Step) -> None:
    name, rate, given = step.values["lr_class"], step.values["init_lr"], step.values["lr_kwargs"]
    _check_kwargs(step, name, given)
    if name == "MultiStepLR":
        _take_milestones(step, rate, given["gamma"], given["milestones"])
    elif name == "CosineAnnealingWarmRestarts":
        cycle = {"cycle_epochs": given["cycle_epochs"]}
        step.natives.append(_schedule("cyclic_cosine", rate, given["lr_min"], step.start, step.end, **cycle))
    else:
        steps = {"step_epochs": given.get("step_size", 1.0), "gamma": given["gamma"]}
        step.natives.append(_schedule("step", rate, None, step.start, step.end, **steps))


def _check_kwargs(step: Step, name: str, given: dict[str, Any]) -> None:
    allowed = LR_CLASSES[name]
    for key in given:
        if key not in allowed:
            listed = ", ".join(allowed)
            raise step.error(f"lr_kwargs of {name} has no {key}; it has {listed}.{nearest(str(key), allowed)}")
    for key, kind in allowed.items():
        if key not in given:
            raise step.error(f"lr_kwargs of {name} needs {key}.")
        try:
            kind(given[key])
        except RecipeError as error:
            raise step.error(f"lr_kwargs: {key} {error}") from error


def _take_milestones(step: Step, rate: float, gamma: float, milestones: list[float]) -> None:
    """A constant rate up to each milestone, ``gamma`` times it afterwards."""
    shift = step.first_epoch - max(step.values["start_epoch"], 0)  # of its stage
    edges = [step.start, *(milestone + shift for milestone in milestones), step.end]
    if any(after != -1 and before >= after for before, after in pairwise(edges)):
        raise step.error(f"lr_kwargs: milestones {milestones} must rise between start_epoch and end_epoch.")
    for i, (start, end) in enumerate(pairwise(edges)):
        now = _rounded(rate * gamma**i)
        step.natives.append(_schedule("constant", now, now, start, end))


def _schedule(
    schedule: str, initial: float | str, final: float | str | None, start: float, end: float, **more: float
) -> Native:
    rates = {"initial_learning_rate": initial} | ({} if final is None else {"final_learning_rate": final})
    window = {"start_epoch": start, "end_epoch": end}
    return Native("learning_rate", {"schedule": schedule, **rates, **window, "warmup": 0.0, **more})


def settle_learning_rates(steps: list[Step], total: int) -> None:
    """Let each rate hold until the next begins, as an optimizer keeps what it was set to."""
    rates = steps_into(steps, "learning_rate")
    rates.sort(key=lambda step: (step.first_epoch, step.natives[-1].settings["end_epoch"] != -1))
    for step, after in pairwise(rates):
        last = step.natives[-1].settings
        if last["end_epoch"] == -1 and max(last["start_epoch"], 0) < after.first_epoch:
            last["end_epoch"] = after.start
        elif last["end_epoch"] == -1 and len(step.natives) == 1:
            step.leave(f"nothing: the learning rate of line {after.line} takes over at once")
        elif last["end_epoch"] == -1 or last["end_epoch"] > after.first_epoch:
            raise after.error(
                f"this learning rate begins at epoch {after.first_epoch:g}, before that of line {step.line} ends; "
                "let one end where the other begins."
            )
    rates = [step for step in rates if step.natives]
    if rates and rates[0].start > 0:
        at_first = "${..optimizer.learning_rate}"
        rates[0].natives.insert(0, _schedule("constant", at_first, at_first, 0.0, rates[0].start))
        rates[0].note("until then recipe.optimizer.learning_rate holds")
    starts = [step.natives[0].settings["start_epoch"] for step in rates[1:]]
    for step, following in zip(rates, [*starts, total], strict=False):
        last = step.natives[-1].settings
        if -1 < last["end_epoch"] < following:
            rate = _rate_at_end(last)
            step.natives.append(_schedule("constant", rate, rate, last["end_epoch"], following))
            step.note(f"after its end the learning rate stays {rate:g}")


def _rate_at_end(settings: dict[str, Any]) -> float:
    if settings["schedule"] != "step":
        return settings["final_learning_rate"]
    steps = (settings["end_epoch"] - max(settings["start_epoch"], 0)) // settings["step_epochs"]
    return _rounded(settings["initial_learning_rate"] * settings["gamma"] ** steps)


def _rounded(rate: float) -> float:
    """Without the last digits of a product, so that 1e-3 * 0.1 reads 1e-4."""
    return float(f"{rate:.12g}")


def weight_decay(step: Step) -> None:
    step.take("weight_decay", weight_decay=step.values["weight_decay"], start_epoch=step.start, end_epoch=-1)
    step.differs("biases and normalisations keep a weight decay of 0")
    _say_groups(step)


def settle_weight_decays(steps: list[Step]) -> None:
    """Each holds until the next begins."""
    for step, after in pairwise(steps_into(steps, "weight_decay")):
        step.natives[0].settings["end_epoch"] = after.start
        if after.first_epoch == step.first_epoch:
            step.leave(f"nothing: the weight decay of line {after.line} takes over at once")


def _say_groups(step: Step) -> None:
    if step.values.get("param_groups"):
        step.differs("it holds for all parameters, not for param_groups alone")


def trainable(step: Step) -> None:
    if has_word(step.written["params"], [PRUNABLE]):
        raise step.error(f"params must be names, re: patterns or {ALL}; {PRUNABLE} is a word of pruning alone.")
    if not step.values["trainable"]:
        step.take("frozen", params=step.values["params"], start_epoch=step.start, end_epoch=step.end)
    if not step.values.get("params_strict", True):
        step.differs("params_strict: False is not kept; every name or pattern must match something")


def settle_frozen(steps: list[Step]) -> None:
    """``trainable: True`` ends an earlier ``trainable: False`` of the same parameters."""
    for step in steps:
        if step.name != "TrainableParamsModifier" or step.values["trainable"] is False:
            continue
        ended = []
        for earlier in steps_into(steps, "frozen"):
            settings = earlier.natives[0].settings
            goes_on = settings["end_epoch"] == -1 or settings["end_epoch"] > step.first_epoch
            if settings["params"] == step.values["params"] and earlier.first_epoch < step.first_epoch and goes_on:
                settings["end_epoch"] = step.start
                ended.append(str(earlier.line))
        frozen = f"the end of what line {', '.join(ended)} froze"
        step.leave(frozen if ended else "nothing: what is not frozen is trained")
