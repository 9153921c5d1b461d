"""The settings of the shipped modifiers: types, defaults and ranges. Imports nothing heavy.

The defaults are those of conf/modifier/*.yaml; a setting whose default there depends on the recipe has none here.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from winnow.config.section import Section, broken_rule
from winnow.errors import UserError, nearest
from winnow.functional.structure import Structure
from winnow.values import (
    Count,
    DroppedLayers,
    Epoch,
    Fraction,
    KeptLayers,
    LatencyEngine,
    LatencyKind,
    LatencyPrecision,
    LayerMapping,
    NotNegative,
    NotNegativeCount,
    Null,
    Patterns,
    PatternsOrNone,
    Positive,
    PositiveOrNull,
    RampShape,
    Ranges,
    Rounding,
    Schedule,
    Scope,
    Smoothing,
    Sparsity,
    SparsityByPattern,
    Speedup,
    Structures,
    TextOrNull,
    WeightBits,
    YesNo,
    check_value,
)

ENCODER = r".*[._]layers?\.\d+\..*"  # encoder layers are numbered modules of a list called layer, layers or x_layers
_ROUNDED = 5e-4  # a sparsity in a recipe may have three digits: 0.667 for 1:3


class ModifierSettings(Section):
    """The settings that a modifier has; the base of all of them.

    Some fields have a meaning in every modifier: ``start_epoch``, ``end_epoch`` and ``update_frequency`` make its
    window, ``teacher`` (null in a recipe) says that it needs a teacher.
    """

    calibrates: ClassVar[bool] = False  # a recipe with such a modifier does not train
    acts_without_training: ClassVar[bool] = False  # a recipe with such a modifier may have 0 epochs
    judges_outputs: ClassVar[bool] = False  # at its start the model must have a trained head
    needs_training: ClassVar[bool] = False  # a recipe with such a modifier has at least one epoch

    @property
    def needs_teacher(self) -> bool:
        return hasattr(self, "teacher")

    def window(self) -> tuple[float, float, float | None]:
        """First epoch (-1: from the first step), last epoch (-1: to the end), epochs between updates."""
        return (
            getattr(self, "start_epoch", 0.0),
            getattr(self, "end_epoch", -1.0),
            getattr(self, "update_frequency", None),
        )

    def boundaries(self) -> dict[str, float]:
        """The epochs that must lie within the training, by name; ``start_epoch`` must be the first of them."""
        names = ("start_epoch", "end_epoch", "disable_observer_epoch")
        values = {name: getattr(self, name, None) for name in names}
        return {name: value for name, value in values.items() if isinstance(value, int | float)}

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        start = self.boundaries().get("start_epoch", -1.0)
        for name, end in self.boundaries().items():
            if -1 < end < start:
                raise broken_rule(f"start_epoch {start:g} is after {name} {end:g}; lower start_epoch or raise {name}.")
        return self

    def _refuse_without_effect(self, unused: Mapping[str, bool], why: str) -> None:
        """Refuse settings that differ from their defaults though nothing uses them."""
        for name, is_unused in unused.items():
            default = type(self).model_fields[name].default
            if is_unused and getattr(self, name) != default:
                shown = "null" if default is None else f"{default}"
                raise broken_rule(f"{{path}}.{name} has no effect {why}; leave it at {shown}.")


class WindowSettings(ModifierSettings):
    """Settings of a modifier that acts from one epoch to another, fractions allowed."""

    if_empty: ClassVar[str] = ""  # the consequence of a window without length, where that is a mistake

    start_epoch: Epoch = 0.0  # -1: from the first step
    end_epoch: Epoch = -1.0  # -1: to the end of training

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.if_empty and self.end_epoch != -1 and max(self.start_epoch, 0.0) == self.end_epoch:
            raise broken_rule(
                f"start_epoch and end_epoch are both {self.end_epoch:g}, so {self.if_empty}; raise end_epoch."
            )
        return self


class PruningSettings(WindowSettings):
    """What all pruners that reach a given sparsity have in common."""

    needs_training: ClassVar[bool] = True

    params: Patterns = Field([ENCODER])  # match full names of linear weights whole
    final_sparsity: SparsityByPattern  # fraction of zeros; by pattern: the first that matches a name counts
    scope: Scope = "matrix"  # matrix: each reaches the sparsity; global: one threshold over all
    structure: Structures = "unstructured"  # unstructured, block4 (four in a row as one) or N:M

    def targets(self) -> Iterator[tuple[str, Any]]:
        """The final sparsities with the name of each: final_sparsity, or final_sparsity[PATTERN]."""
        if isinstance(self.final_sparsity, dict):
            yield from ((f"final_sparsity[{pattern}]", target) for pattern, target in self.final_sparsity.items())
        else:
            yield "final_sparsity", self.final_sparsity

    @model_validator(mode="after")
    def _check_targets(self) -> Self:
        structure = Structure.parse(self.structure)
        for name, target in self.targets():
            try:
                check_value(name, Sparsity, target)
            except UserError as error:
                raise broken_rule(f"{{path}}.{error}") from error
            if structure.sparsity is not None and abs(target - structure.sparsity) > _ROUNDED:
                raise broken_rule(
                    f"structure {structure} ends at a sparsity of {structure.sparsity:.4g}, but {name} is {target:g}; "
                    f"set it to {structure.sparsity:.4g}."
                )
        by_pattern = isinstance(self.final_sparsity, dict)
        if self.scope == "global" and (by_pattern or structure.group):
            what = "a final_sparsity for each pattern" if by_pattern else f"structure {structure}"
            raise broken_rule(f"one threshold over all matrices cannot give {what}; set scope=matrix.")
        return self


class MagnitudePruningSettings(PruningSettings):
    """Settings of magnitude pruning (GMP, one-shot) and of movement pruning."""

    initial_sparsity: Sparsity = 0.0  # of the first update, at most final_sparsity
    update_frequency: NotNegative = 0.05  # epochs between updates; 0 means one at every step
    shape: RampShape = "cubic"  # cubic, linear or inverse_cubic


class LayerwisePruningSettings(MagnitudePruningSettings):
    """Settings of layer-wise second-order pruning."""

    acts_without_training: ClassVar[bool] = True
    needs_training: ClassVar[bool] = False

    calibration_samples: Count = 1024  # training examples by which each update measures the layers

    @model_validator(mode="after")
    def _check_scope(self) -> Self:
        if self.scope == "global":
            raise broken_rule(
                "{path}: errors of different layers cannot be compared; set {path}.scope=matrix, or choose "
                "a recipe such as gmp80."
            )
        return self


class SecondOrderPruningSettings(MagnitudePruningSettings):
    """Settings of second-order pruning by the Fisher information of the loss (oBERT)."""

    judges_outputs: ClassVar[bool] = True

    gradients: Count = 1024  # training examples, each of which gives a gradient at every update
    block: Count = 50  # neighbouring weights whose interactions count; rounded up to whole blocks of the structure
    damping: Positive = 1e-7  # on the diagonal of the Fisher matrix
    memory_gigabytes: Positive = 4.0  # of the Fisher matrix at a time: less takes more passes over the examples


class AlternatingPruningSettings(PruningSettings):
    """Settings of AC/DC."""

    update_frequency: Positive  # epochs of a phase; the first is dense


class ConstantPruningSettings(ModifierSettings):
    """Settings of constant pruning, which keeps the zeros that a model comes with."""

    params: Patterns = Field([ENCODER])  # match full names of linear weights whole
    min_sparsity: Sparsity = 0.0  # a starting model with a smaller fraction of zeros is refused
    structure: Structures = "unstructured"  # only zeros that follow it count for min_sparsity; all zeros are kept
    start_epoch: Epoch = 0.0  # the zeros of this moment are kept


class DistillationSettings(WindowSettings):
    """Settings of distillation on the outputs of a teacher."""

    if_empty: ClassVar[str] = "nothing is distilled"

    hardness: Fraction = 1.0  # 1: teacher only, 0: labels only
    temperature: Positive = 2.0
    start_from_teacher: YesNo = False  # true: begin with the teacher's weights where it has the same shapes
    teacher: Null = None  # the command line names the teacher: teacher=NAME

    def replaces_labels(self, num_epochs: int) -> bool:
        """True if no step of a training uses the labels."""
        return self.hardness == 1 and self.start_epoch <= 0 and self.end_epoch in (-1, num_epochs)


class HiddenDistillationSettings(WindowSettings):
    """Settings of distillation on the hidden states of a teacher."""

    if_empty: ClassVar[str] = "nothing is distilled"

    weight: Positive = 1.0  # of the mean squared distance of the hidden states, added to the loss
    layers: LayerMapping = "auto"  # auto, or {0: 1, 1: 3}: layers of the student to layers of the teacher, from 0
    teacher: Null = None  # the command line names the teacher: teacher=NAME


class FrozenParametersSettings(WindowSettings):
    """Settings of parameters that do not train within the window."""

    if_empty: ClassVar[str] = "nothing is frozen"

    params: Patterns  # match full names of parameters whole


class LayerDroppingSettings(ModifierSettings):
    """Settings of encoder layers that are removed before training; exactly one of the two is given."""

    keep: KeptLayers = None  # 6: so many, evenly spread; [0, 5, 11]: these, counted from 0
    drop: DroppedLayers = None  # [1, 3]: these; or regular expressions that match full names of layers whole

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        if (self.keep is None) == (self.drop is None):
            given = "neither" if self.keep is None else f"keep={self.keep} and drop={self.drop}"
            raise broken_rule(f"{{path}}: give one of keep and drop, such as {{path}}.keep=6; got {given}.")
        return self


class StructureSettings(ModifierSettings):
    """Settings of heads and neurons that are removed until a model is as fast as asked for."""

    acts_without_training: ClassVar[bool] = True
    judges_outputs: ClassVar[bool] = True

    target_speedup: Speedup  # latency of the dense float32 model over that of the deployed one
    stages: Count = 1  # removals, evenly spread from start_epoch to end_epoch
    start_epoch: Epoch = 0.0  # the first stage
    end_epoch: Epoch = 0.0  # the last stage
    calibration_samples: Count = 2048  # training examples that choose what is removed
    restarts: NotNegativeCount = 30  # random variations of the search
    latency: LatencyKind = "measured"  # measured on this machine; macs: multiply-accumulates, equal on all machines
    engine: LatencyEngine = "onnxruntime"  # in which the deployed model runs: onnxruntime, openvino or sparse
    precision: LatencyPrecision = "float32"  # of the deployed model: float32 or int8
    block4_sparsity: Sparsity = 0.0  # fraction of the blocks of four weights that will be zero, in engine sparse
    batch_size: Count = 1  # of the measured call
    sequence_length: Count = 128  # tokens of the measured call
    threads: Count = 1  # of the measured call

    @property
    def conditions(self) -> dict[str, Any]:
        """The speedup that is asked for, and how the latency of the deployed model counts."""
        names = {"target_speedup", "latency", "engine", "precision", "batch_size", "sequence_length", "threads"}
        return self.model_dump(include=names)

    def window(self) -> tuple[float, float, float | None]:
        start, end = max(self.start_epoch, 0.0), self.end_epoch
        return start, end, (end - start) / (self.stages - 1) if self.stages > 1 and end > start else None

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.engine == "sparse" and self.precision != "int8":
            raise broken_rule("{path}.precision must be int8 with {path}.engine=sparse, which runs no float32 graph.")
        self._refuse_without_effect(
            {"block4_sparsity": self.engine != "sparse"}, f"with engine={self.engine}, which computes zeros too"
        )
        return self


class LearningRateSettings(WindowSettings):
    """Settings of the learning rate over the steps of a window."""

    schedule: Schedule = "linear"  # constant, linear, cosine, cyclic_linear, cyclic_cosine, step
    initial_learning_rate: NotNegative  # at the start, or after the warm-up
    final_learning_rate: NotNegative = 0.0  # at the end of the window, or of each cycle
    warmup: Fraction = 0.06  # fraction of the window's steps over which the rate rises from 0
    cycle_epochs: PositiveOrNull = None  # cyclic schedules: epochs between restarts
    step_epochs: PositiveOrNull = None  # step: epochs between falls
    gamma: Positive = 0.1  # step: factor of a fall

    @property
    def is_cyclic(self) -> bool:
        return self.schedule.startswith("cyclic")

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        is_step = self.schedule == "step"
        for name, length, is_needed in (
            ("cycle_epochs", self.cycle_epochs, self.is_cyclic),
            ("step_epochs", self.step_epochs, is_step),
        ):
            if is_needed and length is None:
                raise broken_rule(f"{{path}}: schedule={self.schedule} needs a length in epochs; set {{path}}.{name}.")
        has_final = self.schedule not in ("constant", "step") or self.final_learning_rate == self.initial_learning_rate
        self._refuse_without_effect(
            {
                "cycle_epochs": not self.is_cyclic,
                "step_epochs": not is_step,
                "gamma": not is_step,
                "final_learning_rate": not has_final,
            },
            f"under schedule={self.schedule}",
        )
        return self


class WeightDecaySettings(WindowSettings):
    """Settings of another weight decay within the window."""

    if_empty: ClassVar[str] = "no step has this weight decay"

    weight_decay: NotNegative = 0.01


class QuantizationSettings(ModifierSettings):
    """What quantisation during training and after it have in common."""

    submodules: Patterns = Field([".*"])  # match full names of linear, embedding and attention modules whole
    exclude: PatternsOrNone = Field([])  # the same, for modules that stay in floating point
    weight_bits: WeightBits = 8  # of linear layers, 8 or 4
    embedding_bits: WeightBits = 8  # of embeddings, 8 or 4; each row has its scale
    per_channel: YesNo = True  # a scale for each output of a linear weight; false: one for the whole weight
    embeddings: YesNo = True
    attention: YesNo = True  # the two matmuls of attention
    reduce_range: YesNo = False  # true: activations in 0 to 127, for x86 CPUs without VNNI


class QuantizationAwareTrainingSettings(QuantizationSettings):
    """Settings of quantisation-aware training."""

    needs_training: ClassVar[bool] = True

    start_epoch: Epoch = 0.0
    disable_observer_epoch: Epoch = -1.0  # the quantisation grids are frozen from then on; -1: never


class PostTrainingQuantizationSettings(QuantizationSettings):
    """Settings of post-training quantisation."""

    calibrates: ClassVar[bool] = True
    acts_without_training: ClassVar[bool] = True

    calibration: TextOrNull = None  # file of rows of the task, labels not needed; null: the training examples
    calibration_samples: Count = 512  # examples that the ranges of activations are taken from
    ranges: Ranges = "least_error"  # of activations: least_error of the outputs of the model, or min_max
    smoothing: Smoothing = "auto"  # equal ranges of the channels of an input, by factors that the weights undo
    rounding: Rounding = "gptq"  # of linear weights: gptq, by the outputs of the layer, or nearest


class CustomModifierSettings(ModifierSettings):
    """Settings of a modifier that is not shipped; its own class checks them when the modifiers are built."""

    model_config = ConfigDict(extra="allow")


SHIPPED: dict[str, type[ModifierSettings]] = {
    "winnow.modifiers.gmp.MagnitudePruning": MagnitudePruningSettings,
    "winnow.modifiers.layerwise.LayerwisePruning": LayerwisePruningSettings,
    "winnow.modifiers.obs.SecondOrderPruning": SecondOrderPruningSettings,
    "winnow.modifiers.movement.MovementPruning": MagnitudePruningSettings,
    "winnow.modifiers.acdc.AlternatingPruning": AlternatingPruningSettings,
    "winnow.modifiers.constant.ConstantPruning": ConstantPruningSettings,
    "winnow.modifiers.distillation.Distillation": DistillationSettings,
    "winnow.modifiers.hidden_distillation.HiddenDistillation": HiddenDistillationSettings,
    "winnow.modifiers.frozen.FrozenParameters": FrozenParametersSettings,
    "winnow.modifiers.layer_dropping.LayerDropping": LayerDroppingSettings,
    "winnow.modifiers.learning_rate.LearningRate": LearningRateSettings,
    "winnow.modifiers.structured_pruning.StructuredPruning": StructureSettings,
    "winnow.modifiers.weight_decay.WeightDecay": WeightDecaySettings,
    "winnow.modifiers.quantization.QuantizationAwareTraining": QuantizationAwareTrainingSettings,
    "winnow.modifiers.quantization.PostTrainingQuantization": PostTrainingQuantizationSettings,
}


def _by_target(node: Any) -> Any:
    """The settings of the modifier that a node names as its ``_target_``."""
    if isinstance(node, BaseModel):
        return node
    target = node.get("_target_")
    if not isinstance(target, str) or "." not in target:
        raise broken_rule(f"{{path}}._target_ must be the full name of a class, got {target!r}.")
    settings = {name: value for name, value in node.items() if name != "_target_"}
    if target in SHIPPED:
        return SHIPPED[target].model_validate(settings)
    if target.startswith("winnow."):
        raise broken_rule(f"{{path}}._target_: there is no modifier {target}.{nearest(target, SHIPPED)}")
    return CustomModifierSettings.model_validate(settings)


# A modifier's node as Hydra composes it -> its settings.
ModifierNode = Annotated[ModifierSettings, BeforeValidator(_by_target)]
