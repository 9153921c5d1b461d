"""Quantisation to 8-bit integers: during training, or after it by calibration."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from typing_extensions import TypeVar

from winnow.config.modifiers import (
    PostTrainingQuantizationSettings,
    QuantizationAwareTrainingSettings,
    QuantizationSettings,
)
from winnow.errors import UserError
from winnow.models.least_error_ranges import set_least_error_ranges
from winnow.models.post_training import round_by_outputs, runs_in_sparse_engine, smooth_inputs
from winnow.models.quantized_model import OTHER, insert_fake_quant, multiplying_modules, quantizers, set_fake_quant
from winnow.modifiers.calibration_texts import some_batches
from winnow.modifiers.clock import Clock
from winnow.modifiers.modifier import Event, Modifier, model_of
from winnow.modifiers.patterns import matching
from winnow.tasks.task import Task

Q = TypeVar("Q", bound=QuantizationSettings)


class Quantization(Modifier[Q]):
    """What quantisation during training and after it have in common: the modules and their fake quantisation.

    Inputs of linear layers and of the matmuls of attention get 8 bits, asymmetric, with one scale for each tensor;
    weights are symmetric, so that their zeros stay zeros; biases are rounded to the scale of the sums that they are
    added to.
    """

    order = 200  # after the student has taken its teacher's weights, which have no fake quantisation

    def match(self, model: nn.Module) -> None:
        self._find(model)
        # later ones may be fewer, but a plan and a resumed run do not know that yet
        self._planned = f"{len(self.names)} modules"
        self._left = "".join(f"; {n} {kind} compute in float32" for kind, n in self._others.items())

    def _find(self, model: nn.Module) -> None:
        if not isinstance(model, PreTrainedModel):
            raise UserError(f"{self.name} needs a model of transformers, got a {type(model).__name__}.")
        settings = self.settings
        kinds = {"linear", *(["embedding"] * settings.embeddings), *(["attention"] * settings.attention)}
        found = multiplying_modules(model)
        self._others = Counter(type(model.get_submodule(name)).__name__ for name, k in found.items() if k == OTHER)
        names = [name for name, kind in found.items() if kind in kinds]
        chosen = matching(settings.submodules, names, setting=f"{self.name}.submodules", kind="modules")
        if settings.exclude:
            chosen -= matching(settings.exclude, names, setting=f"{self.name}.exclude", kind="modules")
        if not chosen:
            raise UserError(f"{self.name}.exclude leaves none of the {len(names)} modules to quantise; exclude fewer.")
        self.names = [name for name in names if name in chosen]
        self._refuse_tied(model)
        insert_fake_quant(
            model,
            self.names,
            weight_bits=settings.weight_bits,
            per_channel=settings.per_channel,
            reduce_range=settings.reduce_range,
            embedding_bits=settings.embedding_bits,
        )

    def structure_changed(self, model: nn.Module) -> None:
        self._find(model)

    def _refuse_tied(self, model: nn.Module) -> None:
        first: dict[int, str] = {}
        for name in self.names:
            weight = getattr(model.get_submodule(name), "weight", None)
            if weight is not None and first.setdefault(id(weight), name) != name:
                raise UserError(
                    f"{self.name}: {name} and {first[id(weight)]} share their weights, which cannot have two "
                    f"quantisation grids; leave one in floating point: 'recipe.{self.name}.exclude=[{name}]'."
                )

    def facts(self) -> dict[str, Any]:
        return {"quantized": True}


class QuantizationAwareTraining(Quantization[QuantizationAwareTrainingSettings]):
    """Train with the rounding of the deployed model (Jacob et al. 2018, arXiv:1712.05877, section 3).

    Fake quantisation is in the model from the start, switched off. From ``start_epoch`` on it rounds, and its
    observers update the quantisation grids; from ``disable_observer_epoch`` on the grids are frozen.
    """

    Settings = QuantizationAwareTrainingSettings

    def begin(self, clock: Clock) -> None:
        super().begin(clock)
        frozen = self.settings.disable_observer_epoch
        self.freeze = clock.total_steps if frozen == -1 else clock.step(frozen)
        # without a step between them the grids would be frozen before they have observed anything
        if self.window.start >= clock.total_steps or self.freeze <= self.window.start:
            raise UserError(
                f"{self.name} needs a step between start_epoch {self.settings.start_epoch:g} and the epoch in which "
                "its observers are disabled, or training ends; lower start_epoch or raise disable_observer_epoch."
            )

    def exclusive_targets(self) -> set[str]:
        return {"quantisation"}

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, f"quantises {self._planned}{self._left}")
        if self.freeze < self.clock.total_steps:
            yield Event(self.freeze, "freezes the grids")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self.window.start < trainer.global_step <= self.freeze:
            # the checkpoint may be from between a batch and the end of its observation, which is then made up for
            set_fake_quant(model_of(pl_module), observer_enabled=True, fake_quant_enabled=True)
        # a resumed run may have a validation before its next batch; see is_settled
        self._set_fake_quant(trainer, pl_module, training=False)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        self._set_fake_quant(trainer, pl_module, training=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._set_fake_quant(trainer, pl_module, training=False)

    def _set_fake_quant(self, trainer: pl.Trainer, pl_module: pl.LightningModule, training: bool) -> None:
        step = trainer.global_step
        set_fake_quant(
            model_of(pl_module),
            observer_enabled=training and self.window.start <= step < self.freeze,
            fake_quant_enabled=self.window.start <= step if training else self.is_settled(step),
        )

    def is_settled(self, step: int) -> bool:
        """False also at the very step at which quantisation begins: the observers have seen no batch yet."""
        return step > self.window.start


class PostTrainingQuantization(Quantization[PostTrainingQuantizationSettings]):
    """Quantise a finished model: calibrate its grids with examples, and adjust its weights to them."""

    Settings = PostTrainingQuantizationSettings

    def events(self) -> Iterator[Event]:
        examples = self.settings.calibration_samples
        yield Event(0, f"quantises {self._planned} by {examples:,} examples{self._left}")

    @torch.no_grad()
    def without_training(self, model: nn.Module, task: Task, batches: Iterable[Mapping[str, Tensor]]) -> None:
        examples = some_batches(batches, self.settings.calibration_samples)
        self._calibrate(model, task, examples)
        smoothing = self.settings.smoothing
        if not runs_in_sparse_engine(model) if smoothing == "auto" else smoothing:
            smooth_inputs(model, task, examples)
            self._calibrate(model, task, examples)
        if self.settings.rounding == "gptq":
            round_by_outputs(model, task, examples)
        set_fake_quant(model, observer_enabled=False, fake_quant_enabled=True)

    def _calibrate(self, model: nn.Module, task: Task, examples: Iterable[Mapping[str, Tensor]]) -> None:
        """Set all quantisation grids."""
        for quantizer in quantizers(model).values():
            quantizer.observations.zero_()
        set_fake_quant(model, observer_enabled=True, fake_quant_enabled=False)
        if self.settings.ranges == "least_error":
            set_least_error_ranges(model, task, examples)
        else:
            for batch in examples:
                task.outputs(model, batch)
