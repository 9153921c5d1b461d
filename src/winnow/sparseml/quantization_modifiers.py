"""Translation of SparseML's quantisation-aware training: the older form with submodules, the newer one with schemes."""

import re
from collections.abc import Iterator
from typing import Any

from winnow.sparseml.modifier_translation import ModifierTranslation, translated_to

# Parameters of the older form, which also decides the defaults.
_OLDER = (
    *("submodules", "quantize_embeddings", "quantize_linear_activations", "quantize_conv_activations"),
    *("quantize_embedding_activations", "reduce_range", "activation_bits", "weight_bits", "exclude_batchnorm"),
    *("exclude_module_types", "custom_quantizable_module_types", "activation_qconfig_kwargs"),
    *("weight_qconfig_kwargs", "tensorrt"),
)
# Without effect on encoders, or on Winnow's quantisation.
_IGNORED = (
    *("freeze_bn_stats_epoch", "exclude_batchnorm", "quantize_conv_activations", "num_calibration_steps"),
    *("model_fuse_fn_name", "model_fuse_fn_kwargs", "custom_quantizable_module_types", "activation_qconfig_kwargs"),
    "strict",
)
_NEVER_QUANTIZED = {"LayerNorm", "Tanh", "GELU", "GELUActivation", "ReLU", "Softmax", "Dropout", "Identity"}
_NEVER_QUANTIZED_NAMES = {"LayerNorm", "layer_norm", "dropout", "activation", "intermediate_act_fn"}
_MATMULS = {"QATMatMul", "MatMulOutput_QK", "MatMulOutput_PV"}  # of attention, in SparseML's models


def quantization(modifier: ModifierTranslation) -> None:
    _check_epochs(modifier)
    scheme = _scheme(modifier)
    weights = scheme.get("weights") or {}
    types, names = _excluded(modifier)
    embeddings = modifier.values.get("quantize_embeddings", True) and "Embedding" not in types
    bits = modifier.values.get("weight_bits", weights.get("num_bits", 8))
    _check_bits(modifier, bits, (8, 4), "weights")
    modifier.add(
        "quantization",
        submodules=_submodules(modifier, embeddings),
        weight_bits=bits,
        per_channel=_per_channel(modifier, weights),
        embeddings=embeddings,
        **({"exclude": names} if names else {}),
        **({"attention": False} if types & _MATMULS else {}),
        **({"reduce_range": True} if modifier.values.get("reduce_range") else {}),
        start_epoch=modifier.start,
        disable_observer_epoch=_disable_observer_epoch(modifier),
    )
    _note_activations(modifier, scheme)
    if bits == 4 and embeddings:
        modifier.differs("embeddings keep 8 bits")
    if "LayerNorm" not in types:
        modifier.differs("linear layers, embeddings and the matmuls of attention are quantised, other modules are not")
    elif not types & _MATMULS:
        modifier.note("the matmuls of attention are quantised, as in the models that SparseML ships")
    ignored = [name for name in _IGNORED if modifier.values.get(name) not in (None, -1, {}, [])]
    if ignored:
        modifier.ignores(", ".join(ignored))


def _check_epochs(modifier: ModifierTranslation) -> None:
    if modifier.values.get("end_epoch", -1) != -1:
        raise modifier.error("end_epoch must be -1, because quantisation does not end.")
    start = max(modifier.values.get("start_epoch", -1), 0)
    observer, statistics = (
        modifier.values.get(name) for name in ("disable_quantization_observer_epoch", "freeze_bn_stats_epoch")
    )
    if observer not in (None, -1) and observer <= start:
        raise modifier.error(
            f"disable_quantization_observer_epoch is {observer:g}, not after start_epoch {start:g}; raise it."
        )
    if statistics not in (None, -1) and statistics < start:
        raise modifier.error(f"freeze_bn_stats_epoch is {statistics:g}, before start_epoch {start:g}; raise it.")


def _disable_observer_epoch(modifier: ModifierTranslation) -> float:
    """The epoch of the whole training at which the observers are switched off; -1: never."""
    epoch: float | None = modifier.values.get("disable_quantization_observer_epoch")
    return -1 if epoch is None or epoch == -1 else epoch + modifier.stage_shift


def _scheme(modifier: ModifierTranslation) -> dict[str, Any]:
    """The scheme of all modules; empty for the default."""
    scheme = modifier.values.get("scheme") or modifier.values.get("default_scheme") or {}
    if scheme == "tensorrt" or modifier.values.get("tensorrt"):
        modifier.differs("activations are asymmetric, 0 to 255; TensorRT needs symmetric ones")
    if not isinstance(scheme, dict):
        return {}
    if "target_hardware" in scheme:
        modifier.ignores("target_hardware")
    if (scheme.get("weights") or {}).get("symmetric") is False:
        modifier.differs("weights are symmetric, so that zeros stay zeros")
    if (scheme.get("input_activations") or {}).get("symmetric"):
        modifier.differs("activations are asymmetric, 0 to 255")
    for part in ("input_activations", "weights"):
        if part in scheme and scheme[part] is None:
            modifier.differs(f"{part} are quantised, although {part} is null")
    return scheme


def _check_bits(modifier: ModifierTranslation, bits: Any, supported: tuple[int, ...], what: str) -> None:
    if bits not in supported:
        raise modifier.error(f"{bits}-bit {what} are not supported; use {' or '.join(map(str, supported))} bits.")


def _per_channel(modifier: ModifierTranslation, weights: dict[str, Any]) -> bool:
    """One scale for a whole weight, unless the recipe asks for one per channel."""
    older = modifier.values.get("weight_qconfig_kwargs") or {}
    others = sorted(map(str, set(older) - {"qscheme"})) + (["kwargs"] if weights.get("kwargs") else [])
    if others:
        modifier.ignores(f"{', '.join(others)} of the weight observers")
    return weights.get("strategy") == "channel" or "per_channel" in str(older.get("qscheme"))


def _submodules(modifier: ModifierTranslation, embeddings: bool) -> list[str]:
    """Patterns that match the named modules and everything inside them."""
    named = modifier.values.get("submodules")
    if named is None:
        return [".*"]
    unused = [] if embeddings else [name for name in named if name.rpartition(".")[2].endswith("embeddings")]
    if unused:
        modifier.note(f"{', '.join(unused)}: embeddings are not quantised")
    if len(unused) == len(named):
        raise modifier.error("submodules leaves nothing to quantise; name the encoder, such as bert.encoder.")
    return [rf"{re.escape(name)}(\..*)?" for name in named if name not in unused]


def _excluded(modifier: ModifierTranslation) -> tuple[set[str], list[str]]:
    """What stays in floating point: types of modules, and patterns for names that start with a given text."""
    listed = [*(modifier.values.get("exclude_module_types") or ()), *(modifier.values.get("ignore") or ())]
    listed += _without_weights(modifier)
    types = {name for name in listed if name[0].isupper() and "." not in name}
    if "Linear" in types:
        raise modifier.error("Linear is excluded, but without linear layers there is nothing to quantise; remove it.")
    unknown = types - _NEVER_QUANTIZED - _MATMULS - {"Embedding"}
    if unknown:
        modifier.differs(f"{', '.join(sorted(unknown))}: unknown types of modules, which are quantised")
    names = [name for name in listed if name not in types]
    return types, [f"{re.escape(name)}.*" for name in names if name.rpartition(".")[2] not in _NEVER_QUANTIZED_NAMES]


def _without_weights(modifier: ModifierTranslation) -> Iterator[str]:
    """The modules whose scheme quantises no weights; other schemes of single modules are ignored, with a note."""
    for name, scheme in (modifier.values.get("scheme_overrides") or {}).items():
        if isinstance(scheme, dict) and "weights" in scheme and scheme["weights"] is None:
            yield name
        elif scheme not in (None, "default", "deepsparse") and not _is_embedding_scheme(name, scheme):
            modifier.differs(f"scheme_overrides of {name} is ignored; the scheme of all modules applies")


def _is_embedding_scheme(name: str, scheme: Any) -> bool:
    """True for a scheme of embeddings that only drops input activations, which embeddings do not have."""
    return name == "Embedding" and isinstance(scheme, dict) and scheme.keys() <= {"input_activations"}


def _note_activations(modifier: ModifierTranslation, scheme: dict[str, Any]) -> None:
    older = any(name in modifier.values for name in _OLDER)
    inputs = scheme.get("input_activations") or {}
    _check_bits(modifier, modifier.values.get("activation_bits", inputs.get("num_bits", 8)), (8,), "activations")
    outputs = [
        older and modifier.values.get("quantize_linear_activations", True),
        modifier.values.get("quantize_embedding_activations", False),
        scheme.get("output_activations") is not None,
    ]
    if any(outputs):
        modifier.differs("outputs are quantised as inputs of the next matmul, not where they are computed")


def check_quantization(modifiers: list[ModifierTranslation], total: int) -> None:
    """Allow one quantisation, which must leave some epochs of training."""
    found = translated_to(modifiers, "quantization")
    for modifier in found[1:]:
        raise modifier.error(f"line {found[0].line} already quantises; name all modules there.")
    for modifier in found:
        settings = modifier.natives[0].settings
        if modifier.first_epoch >= total:
            raise modifier.error(
                f"start_epoch is {modifier.start:g}, the end of training; quantisation needs some epochs of training."
            )
        if settings["disable_observer_epoch"] > total:
            modifier.note(f"its observers stay on: epoch {settings['disable_observer_epoch']:g} is after the end")
            settings["disable_observer_epoch"] = -1
