"""The modifiers of SparseML, as its release 1.5 and older ones read them: names, parameters, and what they become."""

from collections.abc import Callable
from dataclasses import dataclass

from winnow.errors import nearest
from winnow.sparseml import objectives
from winnow.sparseml import optimizer_modifiers as optimization
from winnow.sparseml import pruning_modifiers as pruning
from winnow.sparseml import quantization_modifiers as quantization
from winnow.sparseml.expressions import RecipeError
from winnow.sparseml.parameters import (
    Kind,
    anything,
    epoch,
    frequency,
    initial_sparsity,
    learning_rate,
    mapping,
    names,
    one_of,
    optional,
    patterns,
    patterns_or_none,
    positive,
    scheme,
    schemes,
    score,
    sparsity_by_pattern,
    structure,
    whole,
    within,
    yes_no,
)
from winnow.sparseml.reading import Tagged
from winnow.sparseml.steps import Step


@dataclass(frozen=True)
class Known:
    """A modifier of SparseML.

    Args:
        translate: fills in a step.
        parameters: name -> what it may be.
        required: those without a default.
        unused: those that have no effect here; they are ignored with a notice.
    """

    translate: Callable[[Step], None]
    parameters: dict[str, Kind]
    required: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


_RETIRED = ("log_types", "log_frequency", "constant_logging")  # allowed everywhere, ignored with a notice

_WINDOW: dict[str, Kind] = {"start_epoch": epoch, "end_epoch": epoch}
_GRADUAL: dict[str, Kind] = {
    **_WINDOW,
    "params": patterns_or_none,
    "init_sparsity": initial_sparsity,
    "final_sparsity": sparsity_by_pattern,
    "update_frequency": frequency,
    "inter_func": one_of("linear", "cubic", "inverse_cubic"),
    "leave_enabled": yes_no,
    "mask_type": structure,
    "global_sparsity": yes_no,
}
_GRADUAL_NEEDS = ("params", "init_sparsity", "final_sparsity", "start_epoch", "end_epoch", "update_frequency")
_MAGNITUDE = Known(pruning.magnitude, {**_GRADUAL, "phased": yes_no, "score_type": score}, _GRADUAL_NEEDS)

KNOWN: dict[str, Known] = {
    "EpochRangeModifier": Known(objectives.epoch_range, _WINDOW, ("start_epoch", "end_epoch")),
    "GMPruningModifier": _MAGNITUDE,
    "MagnitudePruningModifier": _MAGNITUDE,
    "GlobalMagnitudePruningModifier": Known(pruning.global_magnitude, _GRADUAL, _GRADUAL_NEEDS),
    "MovementPruningModifier": Known(pruning.movement, _GRADUAL, _GRADUAL_NEEDS),
    "OBSPruningModifier": Known(
        pruning.obs,
        _GRADUAL,
        _GRADUAL_NEEDS,
        unused=("num_grads", "damp", "fisher_block_size", "grad_sampler_kwargs", "num_recomputations"),
    ),
    "ACDCPruningModifier": Known(
        pruning.acdc,
        {
            **_WINDOW,
            "params": patterns,
            "compression_sparsity": within("final_sparsity"),
            "update_frequency": within("update_frequency"),
            "global_sparsity": yes_no,
            "leave_enabled": yes_no,
            "mask_type": structure,
        },
        ("params", "compression_sparsity", "start_epoch", "end_epoch", "update_frequency"),
        unused=("momentum_buffer_reset",),
    ),
    "ConstantPruningModifier": Known(
        pruning.constant, {**_WINDOW, "params": patterns}, ("params",), unused=("update_frequency",)
    ),
    "LayerPruningModifier": Known(
        pruning.layers, {**_WINDOW, "layers": names}, ("layers",), unused=("update_frequency",)
    ),
    "LearningRateFunctionModifier": Known(
        optimization.learning_rate_function,
        {
            **_WINDOW,
            "lr_func": one_of("linear", "cosine", "cyclic_linear", "cyclic_cosine"),
            "init_lr": learning_rate,
            "final_lr": learning_rate,
            "cycle_epochs": within("update_frequency"),
        },
        ("lr_func", "init_lr", "final_lr", "start_epoch", "end_epoch"),
        unused=("param_groups", "update_frequency"),
    ),
    "SetLearningRateModifier": Known(
        optimization.set_learning_rate,
        {**_WINDOW, "learning_rate": learning_rate, "param_groups": anything},
        ("learning_rate",),
    ),
    "LearningRateModifier": Known(
        optimization.learning_rate_class,
        {**_WINDOW, "lr_class": one_of(*optimization.LR_CLASSES), "lr_kwargs": mapping, "init_lr": learning_rate},
        ("lr_class", "lr_kwargs", "init_lr", "start_epoch"),
        unused=("update_frequency",),
    ),
    "SetWeightDecayModifier": Known(
        optimization.weight_decay,
        {**_WINDOW, "weight_decay": within("weight_decay"), "param_groups": anything},
        ("weight_decay",),
    ),
    "TrainableParamsModifier": Known(
        optimization.trainable,
        {**_WINDOW, "params": patterns, "trainable": yes_no, "params_strict": yes_no},
        ("params", "trainable"),
    ),
    "DistillationModifier": Known(
        objectives.distillation,
        {
            **_WINDOW,
            "hardness": within("hardness"),
            "temperature": within("temperature"),
            "distill_output_keys": anything,
        },
        unused=("teacher_input_keys", "update_frequency"),
    ),
    "PerLayerDistillationModifier": Known(
        objectives.per_layer_distillation,
        {
            **_WINDOW,
            "gain": positive,
            "student_layer_names": optional(names),
            "teacher_layer_names": optional(names),
        },
        unused=("normalize", "project_features", "epsilon", "update_frequency"),
    ),
    "QuantizationModifier": Known(
        quantization.quantization,
        {
            **_WINDOW,
            "disable_quantization_observer_epoch": optional(epoch),
            "freeze_bn_stats_epoch": optional(epoch),
            "num_calibration_steps": optional(whole),
            "model_fuse_fn_name": anything,
            "model_fuse_fn_kwargs": optional(mapping),
            # the older form, which names submodules
            "submodules": optional(names),
            "quantize_embeddings": yes_no,
            "quantize_linear_activations": yes_no,
            "quantize_conv_activations": yes_no,
            "quantize_embedding_activations": yes_no,
            "reduce_range": yes_no,
            "activation_bits": whole,
            "weight_bits": whole,
            "exclude_batchnorm": yes_no,
            "exclude_module_types": optional(names),
            "custom_quantizable_module_types": optional(names),
            "activation_qconfig_kwargs": optional(mapping),
            "weight_qconfig_kwargs": optional(mapping),
            "tensorrt": yes_no,
            # the newer form, with schemes
            "scheme": optional(scheme),
            "default_scheme": optional(scheme),
            "scheme_overrides": optional(schemes),
            "ignore": optional(names),
            "strict": yes_no,
        },
    ),
}

# Modifiers that SparseML has and Winnow has not -> what comes near.
_WITHOUT_COUNTERPART = {
    "MFACPruningModifier": "!GMPruningModifier",
    "MFACGlobalPruningModifier": "!GlobalMagnitudePruningModifier",
    "RigLPruningModifier": "!ACDCPruningModifier",
    "TopKASTPruningModifier": "!ACDCPruningModifier",
    "StructuredPruningModifier": "!LayerPruningModifier",
    "LayerThinningModifier": "!LayerPruningModifier",
    "PowerpropagationModifier": "!GMPruningModifier",
    "ASRegModifier": "",
    "SetParamModifier": "",
    "GradualParamModifier": "",
    "LoggingModifier": "",
}


def checked(tagged: Tagged) -> Step:
    """A modifier of the file with its name and every parameter checked.

    Raises:
        RecipeError: for a name or a parameter that is not known, a value that cannot be, and one that is missing.
    """
    name = _full_name(tagged)
    known = KNOWN[name]
    allowed = [*known.parameters, *known.unused, *_RETIRED]
    values = {}
    for parameter, value in tagged.settings.items():
        line = tagged.lines[parameter]
        if parameter not in allowed:
            listed, hint = ", ".join(sorted(allowed)), nearest(parameter, allowed)
            raise RecipeError(f"!{tagged.tag} has no parameter {parameter}; it has {listed}.{hint}", line)
        try:
            values[parameter] = known.parameters.get(parameter, anything)(value)
        except RecipeError as error:
            raise RecipeError(f"{parameter} {error}", line) from error
    missing = [parameter for parameter in known.required if parameter not in values]
    if missing:
        raise RecipeError(f"!{tagged.tag} needs {' and '.join(missing)}.", tagged.line)
    start, end = values.get("start_epoch", -1), values.get("end_epoch", -1)
    if -1 < end < start:
        raise RecipeError(
            f"end_epoch {end:g} is before start_epoch {start:g}; it must not be.", tagged.lines["end_epoch"]
        )
    step = Step(name, tagged.line, start, end, values, tagged.settings)
    ignored = [parameter for parameter in values if parameter not in known.parameters]
    if ignored:
        step.ignores(", ".join(ignored))
    return step


def _full_name(tagged: Tagged) -> str:
    """The name that SparseML registered, also for one without its usual beginning or end."""
    name = tagged.tag.removeprefix("pytorch.").removeprefix("Legacy")
    for candidate in (name, f"{name}Modifier", f"{name}PruningModifier"):
        if candidate in KNOWN:
            return candidate
        if candidate in _WITHOUT_COUNTERPART:
            near = _WITHOUT_COUNTERPART[candidate]
            hint = f"{near} comes nearest; " if near else ""
            raise RecipeError(f"!{tagged.tag} has no counterpart here; {hint}take it out to run the rest.", tagged.line)
    raise RecipeError(f"there is no modifier !{tagged.tag}.{nearest(name, KNOWN)}", tagged.line)
