"""SparseML's pruning modifiers, and its dropping of layers."""

import re
from typing import Any

from winnow.sparseml.native import Native
from winnow.sparseml.parameters import ALL, FROM_PARAM, PRUNABLE, beyond_linear_weights, has_word
from winnow.sparseml.steps import Step, steps_into

GRADUAL = ("gmp", "movement", "acdc")


def magnitude(step: Step) -> None:
    score = step.values.get("score_type", "magnitude")
    gradual(step, "movement" if score == "movement" else "gmp")
    if score == "MFAC":
        second_order(step)


def global_magnitude(step: Step) -> None:
    gradual(step, "gmp", everywhere=True)


def movement(step: Step) -> None:
    gradual(step, "movement")


def obs(step: Step) -> None:
    gradual(step, "gmp", everywhere=True)
    second_order(step)


def second_order(step: Step) -> None:
    step.differs("second-order scores are replaced by magnitudes")


def acdc(step: Step) -> None:
    _pruned(step, "acdc", step.values.get("global_sparsity", True), final_sparsity=step.values["compression_sparsity"])
    step.differs("the last phase is a sparse one")


def gradual(step: Step, file: str, everywhere: bool = False) -> None:
    """A ramp of sparsity.

    Args:
        file: of the native modifier.
        everywhere: one threshold over all matrices, where ``global_sparsity`` says nothing.
    """
    final = step.values["final_sparsity"]
    if isinstance(final, dict):
        step.values["params"] = list(final)
    is_one_shot = max(step.start, 0) == step.end
    ramp = {"initial_sparsity": step.values["init_sparsity"], "shape": step.values.get("inter_func", "cubic")}
    everywhere = step.values.get("global_sparsity", everywhere)
    _pruned(step, file, everywhere, final_sparsity=final, **({} if is_one_shot else ramp))
    if step.written["init_sparsity"] == FROM_PARAM:
        step.differs("init_sparsity __FROM_PARAM__ is 0 here; the zeros that are there stay, the ramp begins lower")
    if step.values.get("phased"):
        step.differs("phased: True is not done; the masks stay on")


def _pruned(step: Step, file: str, everywhere: bool, **settings: Any) -> None:
    if not step.values["params"]:
        raise step.error("params is empty; name parameters, or __ALL_PRUNABLE__.")
    structure = step.values.get("mask_type", "unstructured")
    step.take(
        file,
        params=step.values["params"],
        **settings,
        start_epoch=step.start,
        end_epoch=step.end,
        update_frequency=step.values["update_frequency"],
        scope="global" if everywhere else "matrix",
        **({} if structure == "unstructured" else {"structure": structure}),
    )
    if step.written["update_frequency"] in (-1, 0):
        step.note("update_frequency -1 means at every step")
    if step.values["start_epoch"] == -1:
        step.differs("start_epoch -1 is the first step; SparseML interpolates from epoch -1")
    if not step.values.get("leave_enabled", True):
        step.differs("leave_enabled: False ends the updates, the zeros stay")
    if file != "acdc":
        step.differs("a pruned weight stays zero, also where SparseML would let it grow again")
    _say_candidates(step)


def _say_candidates(step: Step) -> None:
    prunable = has_word(step.written["params"], [PRUNABLE])
    if beyond_linear_weights(step.values["params"]) and not prunable:
        step.differs("only the weights of linear layers are pruned")
    if ".*" in step.values["params"]:
        step.differs("a decoder tied to the embeddings is left out")


def say_where_it_ends(steps: list[Step], total: int) -> None:
    """Pruning that ends with the training reaches its target here."""
    for step in steps_into(steps, *GRADUAL):
        if step.end in (-1, total):
            step.differs("it ends with the training and reaches its sparsity; SparseML stops short of it")


def constant(step: Step) -> None:
    later = {"start_epoch": step.start} if step.start > 0 else {}
    step.take("constant", params=step.values["params"], min_sparsity=0.0, **later)
    if step.values.get("end_epoch", -1) != -1:
        step.ignores("end_epoch: the zeros stay to the end")
    step.differs("a model without any zeros is refused")
    _say_candidates(step)


def join_alike(steps: list[Step]) -> None:
    """Modifiers that differ in their params alone become one, as a matrix that two of them match has one pruner."""
    kept: list[Step] = []
    for step in steps_into(steps, *GRADUAL):
        native = step.natives[0]
        first = next((other for other in kept if _differ_in_params_alone(native, other.natives[0])), None)
        if first is None:
            kept.append(step)
            continue
        params = first.natives[0].settings["params"]
        params += [pattern for pattern in native.settings["params"] if pattern not in params]
        step.leave(f"joined to the pruning of line {first.line}")


def _differ_in_params_alone(one: Native, other: Native) -> bool:
    """True for two modifiers with a threshold for each matrix that have the same settings but for params."""
    settings = [{name: v for name, v in native.settings.items() if name != "params"} for native in (one, other)]
    by_number = settings[0]["scope"] == "matrix" and not isinstance(settings[0]["final_sparsity"], dict)
    return one.file == other.file and settings[0] == settings[1] and by_number


def leave_out_constant_after_pruning(steps: list[Step]) -> None:
    """Zeros stay after pruning anyway; a second keeper of the same matrices is not needed."""
    for step in steps_into(steps, "constant"):
        params = step.natives[0].settings["params"]
        before = [
            earlier.line
            for earlier in steps_into(steps, *GRADUAL)
            if -1 < earlier.end <= step.start
            and (".*" in params or set(params) <= set(earlier.natives[0].settings["params"]))
        ]
        if before:
            step.leave(f"nothing: the zeros of line {', '.join(map(str, before))} stay anyway")
            step.notes.clear()


def layers(step: Step) -> None:
    if has_word(step.values["layers"], [ALL, PRUNABLE]):
        raise step.error("layers must be names of layers, such as bert.encoder.layer.3; a word for all leaves none.")
    step.take("layers", drop=[re.escape(name) for name in step.values["layers"]])
    step.differs("the layers are really gone, and the saved configuration says so")
    if step.start > 0:
        step.differs(f"they go before training, not at epoch {step.start:g}")
    if step.values.get("end_epoch", -1) != -1:
        step.differs("they do not come back at end_epoch")


def join_layers(steps: list[Step]) -> None:
    """All layers go before training, so one modifier drops them."""
    drops = steps_into(steps, "layers")
    for step in drops[1:]:
        joined = drops[0].natives[0].settings["drop"]
        joined += [layer for layer in step.natives[0].settings["drop"] if layer not in joined]
        step.leave(f"joined to the layers of line {drops[0].line}")
