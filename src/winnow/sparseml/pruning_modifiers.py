"""Translation of SparseML's pruning modifiers and of its layer dropping."""

import re
from typing import Any

from winnow.sparseml.modifier_translation import ModifierTranslation, translated_to
from winnow.sparseml.native import NativeModifier
from winnow.sparseml.parameters import ALL, FROM_PARAM, PRUNABLE, has_keyword, matches_beyond_linear_weights

GRADUAL = ("gmp", "movement", "acdc", "obs")
_OBS = {"num_grads": "gradients", "damp": "damping", "fisher_block_size": "block"}


def magnitude(modifier: ModifierTranslation) -> None:
    score = modifier.values.get("score_type", "magnitude")
    _gradual(modifier, "movement" if score == "movement" else "gmp")
    if score == "MFAC":
        modifier.differs("second-order scores are replaced by magnitudes")


def global_magnitude(modifier: ModifierTranslation) -> None:
    _gradual(modifier, "gmp", global_by_default=True)


def movement(modifier: ModifierTranslation) -> None:
    _gradual(modifier, "movement")


def obs(modifier: ModifierTranslation) -> None:
    given = {native: modifier.values[name] for name, native in _OBS.items() if name in modifier.values}
    _gradual(modifier, "obs", global_by_default=True, **given)
    modifier.differs("gradients are those of single examples; SparseML takes the means of batches")


def acdc(modifier: ModifierTranslation) -> None:
    _add(modifier, "acdc", True, final_sparsity=modifier.values["compression_sparsity"])
    modifier.differs("the last phase is sparse")


def _gradual(modifier: ModifierTranslation, file: str, global_by_default: bool = False, **settings: Any) -> None:
    """Add a sparsity ramp.

    Args:
        file: of the native modifier.
        global_by_default: one threshold for all matrices unless ``global_sparsity`` is given.
        settings: further ones of the native modifier.
    """
    final = modifier.values["final_sparsity"]
    if isinstance(final, dict):
        modifier.values["params"] = list(final)
    _add(
        modifier,
        file,
        global_by_default,
        initial_sparsity=modifier.values["init_sparsity"],
        final_sparsity=final,
        shape=modifier.values.get("inter_func", "cubic"),
        **settings,
    )
    if modifier.written["init_sparsity"] == FROM_PARAM:
        modifier.differs(f"init_sparsity {FROM_PARAM} becomes 0: existing zeros stay, but the ramp starts lower")
    if modifier.values.get("phased"):
        modifier.differs("phased: True is not supported; the masks stay on")


def _add(modifier: ModifierTranslation, file: str, global_by_default: bool, **settings: Any) -> None:
    if not modifier.values["params"]:
        raise modifier.error(f"params is empty; name parameters, or {PRUNABLE}.")
    structure = modifier.values.get("mask_type", "unstructured")
    modifier.add(
        file,
        params=modifier.values["params"],
        **settings,
        start_epoch=modifier.start,
        end_epoch=modifier.end,
        update_frequency=modifier.values["update_frequency"],
        scope="global" if modifier.values.get("global_sparsity", global_by_default) else "matrix",
        **({} if structure == "unstructured" else {"structure": structure}),
    )
    if modifier.written["update_frequency"] in (-1, 0):
        modifier.note("update_frequency -1 updates the masks at every step")
    if modifier.values["start_epoch"] == -1:
        modifier.differs("start_epoch -1 means the first step; SparseML interpolates from epoch -1")
    if not modifier.values.get("leave_enabled", True):
        modifier.differs("leave_enabled: False ends the mask updates, but the zeros stay")
    if file == "movement":
        modifier.differs("a pruned weight that returns has the value that it had; in SparseML it grows from zero")
    elif file != "acdc":
        modifier.differs("a pruned weight stays zero; SparseML may let it grow again")
    _note_unpruned(modifier)


def _note_unpruned(modifier: ModifierTranslation) -> None:
    prunable = has_keyword(modifier.written["params"], [PRUNABLE])
    if matches_beyond_linear_weights(modifier.values["params"]) and not prunable:
        modifier.differs("only the weights of linear layers are pruned")
    if ".*" in modifier.values["params"]:
        modifier.differs("a decoder that shares its weight with the embeddings is not pruned")


def note_end_of_ramps(modifiers: list[ModifierTranslation], total: int) -> None:
    """Note that pruning which ends with the training reaches its final sparsity, unlike in SparseML."""
    for modifier in translated_to(modifiers, *GRADUAL):
        if modifier.end in (-1, total):
            modifier.differs("the final sparsity is reached when training ends; SparseML stops short of it")


def constant(modifier: ModifierTranslation) -> None:
    later = {"start_epoch": modifier.start} if modifier.start > 0 else {}
    modifier.add("constant", params=modifier.values["params"], min_sparsity=0.0, **later)
    if modifier.values.get("end_epoch", -1) != -1:
        modifier.ignores("end_epoch: the zeros stay until training ends")
    modifier.differs("a model without any zeros is refused")
    _note_unpruned(modifier)


def merge_equal_pruning(modifiers: list[ModifierTranslation]) -> None:
    """Merge modifiers that differ only in their params, as two of them must not prune the same matrix."""
    kept: list[ModifierTranslation] = []
    for modifier in translated_to(modifiers, *GRADUAL):
        native = modifier.natives[0]
        first = next((other for other in kept if _differ_only_in_params(native, other.natives[0])), None)
        if first is None:
            kept.append(modifier)
            continue
        params = first.natives[0].settings["params"]
        params += [pattern for pattern in native.settings["params"] if pattern not in params]
        modifier.remove_natives(f"merged into the pruning of line {first.line}")


def _differ_only_in_params(one: NativeModifier, other: NativeModifier) -> bool:
    """True for equal settings apart from params, with one sparsity and a threshold for each matrix."""
    settings = [{name: v for name, v in native.settings.items() if name != "params"} for native in (one, other)]
    one_sparsity = not isinstance(settings[0]["final_sparsity"], dict)
    return one.file == other.file and settings[0] == settings[1] and settings[0]["scope"] == "matrix" and one_sparsity


def remove_constant_after_pruning(modifiers: list[ModifierTranslation]) -> None:
    """Remove constant pruning of matrices that an earlier modifier has pruned and keeps sparse."""
    for modifier in translated_to(modifiers, "constant"):
        params = modifier.natives[0].settings["params"]
        before = [
            earlier.line
            for earlier in translated_to(modifiers, *GRADUAL)
            if -1 < earlier.end <= modifier.start
            and (".*" in params or set(params) <= set(earlier.natives[0].settings["params"]))
        ]
        if before:
            modifier.remove_natives(f"no modifier: line {', '.join(map(str, before))} keeps its zeros anyway")
            modifier.notes.clear()


def layers(modifier: ModifierTranslation) -> None:
    if has_keyword(modifier.values["layers"], [ALL, PRUNABLE]):
        raise modifier.error(f"layers must be names such as bert.encoder.layer.3; {ALL} would leave no layer.")
    if not modifier.values["layers"]:
        raise modifier.error("layers is empty; name some, such as bert.encoder.layer.3, or leave the modifier out.")
    modifier.add("layers", drop=[re.escape(name) for name in modifier.values["layers"]])
    modifier.differs("the layers are removed from the model and from its saved configuration")
    if modifier.start > 0:
        modifier.differs(f"they are removed before training, not at epoch {modifier.start:g}")
    if modifier.values.get("end_epoch", -1) != -1:
        modifier.differs("they are not restored at end_epoch")


def merge_layers(modifiers: list[ModifierTranslation]) -> None:
    """Merge all dropping of layers, which happens before training."""
    drops = translated_to(modifiers, "layers")
    for modifier in drops[1:]:
        merged = drops[0].natives[0].settings["drop"]
        merged += [layer for layer in modifier.natives[0].settings["drop"] if layer not in merged]
        modifier.remove_natives(f"merged into the layers of line {drops[0].line}")
