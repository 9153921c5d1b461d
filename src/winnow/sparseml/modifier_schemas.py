"""The modifiers of SparseML up to release 1.5: names, parameters, and the functions that translate them."""

from collections.abc import Callable
from dataclasses import dataclass

from winnow.sparseml import distillation_modifiers as distillation
from winnow.sparseml import optimizer_modifiers as optimization
from winnow.sparseml import parameters as kinds
from winnow.sparseml import pruning_modifiers as pruning
from winnow.sparseml import quantization_modifiers as quantization
from winnow.sparseml.modifier_translation import ModifierTranslation


@dataclass(frozen=True)
class ModifierSchema:
    """A modifier of SparseML.

    Args:
        translate: adds its native modifiers.
        parameters: name -> kind.
        required: parameters without a default.
        unused: parameters without effect in Winnow, ignored with a note.
    """

    translate: Callable[[ModifierTranslation], None]
    parameters: dict[str, kinds.Kind]
    required: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def _count_epochs(modifier: ModifierTranslation) -> None:
    """No native modifier: it only counts for the length of training."""


LOGGING = ("log_types", "log_frequency", "constant_logging")  # parameters of every modifier, without effect

_WINDOW: dict[str, kinds.Kind] = {"start_epoch": kinds.epoch, "end_epoch": kinds.epoch}
_GRADUAL: dict[str, kinds.Kind] = {
    **_WINDOW,
    "params": kinds.patterns_or_none,
    "init_sparsity": kinds.initial_sparsity,
    "final_sparsity": kinds.sparsity_by_pattern,
    "update_frequency": kinds.frequency,
    "inter_func": kinds.one_of("linear", "cubic", "inverse_cubic"),
    "leave_enabled": kinds.yes_no,
    "mask_type": kinds.structure,
    "global_sparsity": kinds.yes_no,
}
_GRADUAL_REQUIRED = ("params", "init_sparsity", "final_sparsity", "start_epoch", "end_epoch", "update_frequency")
_MAGNITUDE = ModifierSchema(
    pruning.magnitude, {**_GRADUAL, "phased": kinds.yes_no, "score_type": kinds.score}, _GRADUAL_REQUIRED
)

SCHEMAS: dict[str, ModifierSchema] = {
    "EpochRangeModifier": ModifierSchema(_count_epochs, _WINDOW, ("start_epoch", "end_epoch")),
    "GMPruningModifier": _MAGNITUDE,
    "MagnitudePruningModifier": _MAGNITUDE,
    "GlobalMagnitudePruningModifier": ModifierSchema(pruning.global_magnitude, _GRADUAL, _GRADUAL_REQUIRED),
    "MovementPruningModifier": ModifierSchema(pruning.movement, _GRADUAL, _GRADUAL_REQUIRED),
    "OBSPruningModifier": ModifierSchema(
        pruning.obs,
        {**_GRADUAL, "num_grads": kinds.whole, "damp": kinds.positive, "fisher_block_size": kinds.whole},
        _GRADUAL_REQUIRED,
        unused=("grad_sampler_kwargs", "num_recomputations"),
    ),
    "ACDCPruningModifier": ModifierSchema(
        pruning.acdc,
        {
            **_WINDOW,
            "params": kinds.patterns,
            "compression_sparsity": kinds.sparsity,
            "update_frequency": kinds.positive,
            "global_sparsity": kinds.yes_no,
            "leave_enabled": kinds.yes_no,
            "mask_type": kinds.structure,
        },
        ("params", "compression_sparsity", "start_epoch", "end_epoch", "update_frequency"),
        unused=("momentum_buffer_reset",),
    ),
    "ConstantPruningModifier": ModifierSchema(
        pruning.constant, {**_WINDOW, "params": kinds.patterns}, ("params",), unused=("update_frequency",)
    ),
    "LayerPruningModifier": ModifierSchema(
        pruning.layers, {**_WINDOW, "layers": kinds.names}, ("layers",), unused=("update_frequency",)
    ),
    "LearningRateFunctionModifier": ModifierSchema(
        optimization.learning_rate_function,
        {
            **_WINDOW,
            "lr_func": kinds.one_of("linear", "cosine", "cyclic_linear", "cyclic_cosine"),
            "init_lr": kinds.learning_rate,
            "final_lr": kinds.learning_rate,
            "cycle_epochs": kinds.positive,
        },
        ("lr_func", "init_lr", "final_lr", "start_epoch", "end_epoch"),
        unused=("param_groups", "update_frequency"),
    ),
    "SetLearningRateModifier": ModifierSchema(
        optimization.set_learning_rate,
        {**_WINDOW, "learning_rate": kinds.learning_rate, "param_groups": kinds.anything},
        ("learning_rate",),
    ),
    "LearningRateModifier": ModifierSchema(
        optimization.learning_rate_class,
        {
            **_WINDOW,
            "lr_class": kinds.one_of(*optimization.LR_CLASSES),
            "lr_kwargs": kinds.mapping,
            "init_lr": kinds.learning_rate,
        },
        ("lr_class", "lr_kwargs", "init_lr", "start_epoch"),
        unused=("update_frequency",),
    ),
    "SetWeightDecayModifier": ModifierSchema(
        optimization.weight_decay,
        {**_WINDOW, "weight_decay": kinds.not_negative, "param_groups": kinds.anything},
        ("weight_decay",),
    ),
    "TrainableParamsModifier": ModifierSchema(
        optimization.trainable,
        {**_WINDOW, "params": kinds.patterns, "trainable": kinds.yes_no, "params_strict": kinds.yes_no},
        ("params", "trainable"),
    ),
    "DistillationModifier": ModifierSchema(
        distillation.distillation,
        {
            **_WINDOW,
            "hardness": kinds.fraction,
            "temperature": kinds.positive,
            "distill_output_keys": kinds.anything,
        },
        unused=("teacher_input_keys", "update_frequency"),
    ),
    "PerLayerDistillationModifier": ModifierSchema(
        distillation.per_layer_distillation,
        {
            **_WINDOW,
            "gain": kinds.positive,
            "student_layer_names": kinds.optional(kinds.names),
            "teacher_layer_names": kinds.optional(kinds.names),
        },
        unused=("normalize", "project_features", "epsilon", "update_frequency"),
    ),
    "QuantizationModifier": ModifierSchema(
        quantization.quantization,
        {
            **_WINDOW,
            "disable_quantization_observer_epoch": kinds.optional(kinds.epoch),
            "freeze_bn_stats_epoch": kinds.optional(kinds.epoch),
            "num_calibration_steps": kinds.optional(kinds.whole),
            "model_fuse_fn_name": kinds.anything,
            "model_fuse_fn_kwargs": kinds.optional(kinds.mapping),
            # the older form
            "submodules": kinds.optional(kinds.names),
            "quantize_embeddings": kinds.yes_no,
            "quantize_linear_activations": kinds.yes_no,
            "quantize_conv_activations": kinds.yes_no,
            "quantize_embedding_activations": kinds.yes_no,
            "reduce_range": kinds.yes_no,
            "activation_bits": kinds.whole,
            "weight_bits": kinds.whole,
            "exclude_batchnorm": kinds.yes_no,
            "exclude_module_types": kinds.optional(kinds.names),
            "custom_quantizable_module_types": kinds.optional(kinds.names),
            "activation_qconfig_kwargs": kinds.optional(kinds.mapping),
            "weight_qconfig_kwargs": kinds.optional(kinds.mapping),
            "tensorrt": kinds.yes_no,
            # the newer form, with kinds.schemes
            "scheme": kinds.optional(kinds.scheme),
            "default_scheme": kinds.optional(kinds.scheme),
            "scheme_overrides": kinds.optional(kinds.schemes),
            "ignore": kinds.optional(kinds.names),
            "strict": kinds.yes_no,
        },
    ),
}
