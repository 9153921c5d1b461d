"""SparseML's quantisation-aware training, in its older form, which names submodules, and the newer, with schemes."""

import re
from collections.abc import Iterator
from typing import Any

from winnow.sparseml.steps import Step, steps_into

# Parameters of the older form; what a recipe does not say is as that form has it.
_OLDER = (
    *("submodules", "quantize_embeddings", "quantize_linear_activations", "quantize_conv_activations"),
    *("quantize_embedding_activations", "reduce_range", "activation_bits", "weight_bits", "exclude_batchnorm"),
    *("exclude_module_types", "custom_quantizable_module_types", "activation_qconfig_kwargs"),
    *("weight_qconfig_kwargs", "tensorrt"),
)
# Without effect on encoders, or on how quantisation is done here.
_IGNORED = (
    *("freeze_bn_stats_epoch", "exclude_batchnorm", "quantize_conv_activations", "num_calibration_steps"),
    *("model_fuse_fn_name", "model_fuse_fn_kwargs", "custom_quantizable_module_types", "activation_qconfig_kwargs"),
    "strict",
)
_NEVER_QUANTIZED = {"LayerNorm", "Tanh", "GELU", "GELUActivation", "ReLU", "Softmax", "Dropout", "Identity"}
_NEVER_QUANTIZED_PARTS = {"LayerNorm", "layer_norm", "dropout", "activation", "intermediate_act_fn"}
_PRODUCTS = {"QATMatMul", "MatMulOutput_QK", "MatMulOutput_PV"}  # of attention, in SparseML's models


def quantization(step: Step) -> None:
    _check_epochs(step)
    scheme = _scheme(step)
    weights = scheme.get("weights") or {}
    kinds, names = _left_out(step)
    embeddings = step.values.get("quantize_embeddings", True) and "Embedding" not in kinds
    bits = _bits(step, step.values.get("weight_bits", weights.get("num_bits", 8)), (8, 4), "weights")
    step.take(
        "quantization",
        submodules=_submodules(step, embeddings),
        weight_bits=bits,
        per_channel=_per_channel(step, weights),
        embeddings=embeddings,
        **({"exclude": names} if names else {}),
        **({"attention": False} if kinds & _PRODUCTS else {}),
        **({"reduce_range": True} if step.values.get("reduce_range") else {}),
        start_epoch=step.start,
        disable_observer_epoch=_frozen_from(step),
    )
    _say_of_activations(step, scheme)
    if bits == 4 and embeddings:
        step.differs("tables keep 8 bits")
    if "LayerNorm" not in kinds:
        step.differs("linear layers, tables and the products of attention are quantised, other modules are not")
    elif not kinds & _PRODUCTS:
        step.note("the products of attention are quantised, as in the models that SparseML ships")
    ignored = [name for name in _IGNORED if step.values.get(name) not in (None, -1, {}, [])]
    if ignored:
        step.ignores(", ".join(ignored))


def _check_epochs(step: Step) -> None:
    if step.values.get("end_epoch", -1) != -1:
        raise step.error("end_epoch of a quantization must be -1: it does not end.")
    start = max(step.values.get("start_epoch", -1), 0)
    frozen, statistics = (
        step.values.get(name) for name in ("disable_quantization_observer_epoch", "freeze_bn_stats_epoch")
    )
    if frozen not in (None, -1) and frozen <= start:
        raise step.error(
            f"disable_quantization_observer_epoch is {frozen:g}, not after start_epoch {start:g}; raise it."
        )
    if statistics not in (None, -1) and statistics < start:
        raise step.error(f"freeze_bn_stats_epoch is {statistics:g}, before start_epoch {start:g}; raise it.")


def _frozen_from(step: Step) -> float:
    """The epoch of the whole training from which the observers are off; -1: never."""
    epoch = step.values.get("disable_quantization_observer_epoch")
    shift = step.first_epoch - max(step.values.get("start_epoch", -1), 0)  # of its stage
    return -1 if epoch in (None, -1) else epoch + shift


def _scheme(step: Step) -> dict[str, Any]:
    """The scheme of all modules, part by part; an empty one is the default."""
    given = step.values.get("scheme") or step.values.get("default_scheme") or {}
    if given == "tensorrt" or step.values.get("tensorrt"):
        step.differs("activations are asymmetric, from 0 to 255, not as TensorRT has them")
    if not isinstance(given, dict):
        return {}
    if "target_hardware" in given:
        step.ignores("target_hardware")
    if (given.get("weights") or {}).get("symmetric") is False:
        step.differs("weights are symmetric: zeros stay zeros")
    if (given.get("input_activations") or {}).get("symmetric"):
        step.differs("activations are asymmetric, from 0 to 255")
    for part in ("input_activations", "weights"):
        if part in given and given[part] is None:
            step.differs(f"{part} are quantised, though {part} is null")
    return given


def _bits(step: Step, bits: Any, known: tuple[int, ...], what: str) -> int:
    if bits not in known:
        raise step.error(f"{what} of {bits} bits are not done here; take {' or '.join(map(str, known))}.")
    return bits


def _per_channel(step: Step, weights: dict[str, Any]) -> bool:
    """SparseML has one scale for a whole weight, unless a recipe says otherwise."""
    older = step.values.get("weight_qconfig_kwargs") or {}
    others = sorted(set(older) - {"qscheme"}) + (["kwargs"] if weights.get("kwargs") else [])
    if others:
        step.ignores(f"{', '.join(others)} of the observers of weights")
    return weights.get("strategy") == "channel" or "per_channel" in str(older.get("qscheme"))


def _submodules(step: Step, embeddings: bool) -> list[str]:
    """Names of modules as patterns that match them and all they hold."""
    named = step.values.get("submodules")
    if named is None:
        return [".*"]
    tables = [] if embeddings else [name for name in named if name.rpartition(".")[2].endswith("embeddings")]
    if tables:
        step.note(f"{', '.join(tables)}: tables are not quantised")
    if len(tables) == len(named):
        raise step.error("submodules leaves nothing to quantise; name the encoder, such as bert.encoder.")
    return [rf"{re.escape(name)}(\..*)?" for name in named if name not in tables]


def _left_out(step: Step) -> tuple[set[str], list[str]]:
    """What stays in floating point: types of modules, and patterns of names, which count as beginnings of names."""
    listed = [*(step.values.get("exclude_module_types") or ()), *(step.values.get("ignore") or ())]
    listed += _without_weights(step)
    kinds = {name for name in listed if name[0].isupper() and "." not in name}
    if "Linear" in kinds:
        raise step.error("Linear is left out, but without linear layers there is nothing to quantise; take it out.")
    unknown = kinds - _NEVER_QUANTIZED - _PRODUCTS - {"Embedding"}
    if unknown:
        step.differs(f"{', '.join(sorted(unknown))}: no type that is known here; what such modules hold is quantised")
    names = [name for name in listed if name not in kinds]
    return kinds, [f"{re.escape(name)}.*" for name in names if name.rpartition(".")[2] not in _NEVER_QUANTIZED_PARTS]


def _without_weights(step: Step) -> Iterator[str]:
    """The modules whose own scheme quantises no weights; other schemes of single modules are not kept."""
    for name, own in (step.values.get("scheme_overrides") or {}).items():
        if isinstance(own, dict) and "weights" in own and own["weights"] is None:
            yield name
        elif own not in (None, "default", "deepsparse") and not _is_that_of_a_table(name, own):
            step.differs(f"scheme_overrides of {name} is not kept; it has the scheme of the others")


def _is_that_of_a_table(name: str, own: Any) -> bool:
    """A table has no activations that come in, its scheme differs in nothing else."""
    return name == "Embedding" and isinstance(own, dict) and own.keys() <= {"input_activations"}


def _say_of_activations(step: Step, scheme: dict[str, Any]) -> None:
    older = any(name in step.values for name in _OLDER)
    incoming = scheme.get("input_activations") or {}
    _bits(step, step.values.get("activation_bits", incoming.get("num_bits", 8)), (8,), "activations")
    outputs = [
        older and step.values.get("quantize_linear_activations", True),
        step.values.get("quantize_embedding_activations", False),
        scheme.get("output_activations") is not None,
    ]
    if any(outputs):
        step.differs("outputs are quantised where the next product reads them, not where they come out")


def settle_quantization(steps: list[Step], total: int) -> None:
    """One modifier quantises, and trains with it for a while."""
    found = steps_into(steps, "quantization")
    for step in found[1:]:
        raise step.error(f"line {found[0].line} quantises already; name all modules there.")
    for step in found:
        settings = step.natives[0].settings
        if step.first_epoch >= total:
            raise step.error(f"start_epoch is {step.start:g}, the end of training; quantisation needs epochs to train.")
        if settings["disable_observer_epoch"] > total:
            step.note(f"its observers stay on: epoch {settings['disable_observer_epoch']:g} is after the end")
            settings["disable_observer_epoch"] = -1
