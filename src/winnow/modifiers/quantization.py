"""Quantisation to 8 bit integers, learnt in training or calibrated after it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from winnow.errors import UserError
from winnow.models.quantized_model import insert_fake_quant, quantizable, switch
from winnow.modifiers.clock import Clock
from winnow.modifiers.modifier import Event, Modifier
from winnow.modifiers.patterns import matching
from winnow.ranges import check_range


class Quantization(Modifier):
    """What quantisation in training and after it share: the choice of modules, and their quantisers.

    Inputs of linear layers and of the products of attention get 8 bits, asymmetric, a scale for each tensor; weights
    are symmetric, their zeros stay zeros; biases are rounded to the scale of the sums that they are added to.

    Args:
        submodules: regular expressions that match full names of linear, embedding and attention modules whole.
        exclude: the same, for those that stay in floating point.
        weight_bits: of linear layers, 8 or 4.
        per_channel: a scale for each output of a linear weight; false: one for the whole weight.
        embeddings: tables too, with 8 bits and one scale each.
        attention: the products of attention too.
        reduce_range: activations take 7 bits, for x86 CPUs without VNNI, whose sums of products may overflow.
    """

    order = 200  # after the student has taken its teacher's weights, which have no quantisers

    def __init__(
        self,
        *,
        submodules: list[str],
        exclude: list[str],
        weight_bits: int,
        per_channel: bool,
        embeddings: bool,
        attention: bool,
        reduce_range: bool,
        **window: Any,
    ) -> None:
        super().__init__(**window)
        check_range("weight_bits", weight_bits)
        self.submodules = submodules
        self.exclude = exclude
        self.kinds = {"linear", *(["embedding"] if embeddings else []), *(["attention"] if attention else [])}
        self.settings: dict[str, Any] = {
            "weight_bits": weight_bits,
            "per_channel": per_channel,
            "reduce_range": reduce_range,
        }

    def match(self, model: nn.Module) -> None:
        names = [name for name, kind in quantizable(model).items() if kind in self.kinds]
        chosen = matching(self.submodules, names, setting=f"{self.name}.submodules", kind="modules")
        if self.exclude:
            chosen -= matching(self.exclude, names, setting=f"{self.name}.exclude", kind="modules")
        if not chosen:
            raise UserError(f"{self.name}.exclude leaves none of the {len(names)} modules to quantise; name fewer.")
        self.names = [name for name in names if name in chosen]
        self._refuse_tied(model)
        insert_fake_quant(model, self.names, **self.settings)

    def _refuse_tied(self, model: nn.Module) -> None:
        first: dict[int, str] = {}
        for name in self.names:
            weight = getattr(model.get_submodule(name), "weight", None)
            if weight is not None and first.setdefault(id(weight), name) != name:
                raise UserError(
                    f"{self.name}: {name} has the same weights as {first[id(weight)]}, so they cannot have grids of "
                    f"their own; leave one in floating point: 'recipe.{self.name}.exclude=[{name}]'."
                )

    def facts(self) -> dict[str, Any]:
        return {"quantized": True}


class QuantizationAwareTraining(Quantization):
    """Train on the grid that the deployed model computes on (Jacob et al. 2018, arXiv:1712.05877, section 3).

    The quantisers are in the model from the start, switched off. From ``start_epoch`` on they round, and fit their
    grids to what they see; from ``disable_observer_epoch`` on the grids stay as they are.

    Args:
        disable_observer_epoch: not before ``start_epoch``; -1 means that the grids are fitted to the end.
        settings: of `Quantization`.
    """

    def __init__(self, *, start_epoch: float, disable_observer_epoch: float = -1, **settings: Any) -> None:
        super().__init__(start_epoch=start_epoch, **settings)
        check_range("disable_observer_epoch", disable_observer_epoch)
        if disable_observer_epoch != -1 and disable_observer_epoch < start_epoch:
            raise UserError(
                f"{self.name}: disable_observer_epoch {disable_observer_epoch:g} is before start_epoch "
                f"{start_epoch:g}; raise it."
            )
        self.disable_observer_epoch = disable_observer_epoch

    def begin(self, clock: Clock) -> None:
        super().begin(clock)
        frozen = self.disable_observer_epoch
        self.freeze = clock.total_steps if frozen == -1 else clock.step(frozen)
        # a grid that no step was trained on would be that of nothing
        if self.window.start >= clock.total_steps or self.freeze <= self.window.start:
            raise UserError(
                f"{self.name} needs a step between start_epoch {self.start_epoch:g} and the epoch in which its "
                "observers are frozen, or training ends; lower start_epoch or raise disable_observer_epoch."
            )

    def rules(self) -> set[str]:
        return {"quantisation"}

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, f"quantises {len(self.names)} modules")
        if self.freeze < self.clock.total_steps:
            yield Event(self.freeze, "freezes the grids")

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.report_events(step, trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        # a run that goes on may have a validation before its next batch; see is_settled
        switch(pl_module.model, observes=False, quantizes=self.is_settled(trainer.global_step))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        step = trainer.global_step
        switch(
            pl_module.model,
            observes=self.window.start <= step < self.freeze,
            quantizes=self.window.start <= step,
        )

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        switch(pl_module.model, observes=False, quantizes=self.is_settled(trainer.global_step))

    def is_settled(self, step: int) -> bool:
        """False also at the very step with which quantisation begins: the grids have seen nothing yet."""
        return step > self.window.start


class PostTrainingQuantization(Quantization):
    """Quantise a finished model: its grids are fitted to examples, its weights stay what they are but for rounding.

    Args:
        calibration_samples: training examples that the grids are fitted to.
        settings: of `Quantization`.
    """

    def __init__(self, *, calibration_samples: int, **settings: Any) -> None:
        super().__init__(**settings)
        check_range("calibration_samples", calibration_samples)
        self.calibration_samples = calibration_samples

    def events(self) -> Iterator[Event]:
        yield Event(0, f"quantises {len(self.names)} modules by {self.calibration_samples:,} examples")

    @torch.no_grad()
    def without_training(self, model: nn.Module, task: Any, batches: Iterable[Mapping[str, Tensor]]) -> None:
        switch(model, observes=True, quantizes=False)
        seen = 0
        for batch in batches:
            task.outputs(model, batch)
            seen += len(batch["input_ids"])
            if seen >= self.calibration_samples:
                break
        switch(model, observes=False, quantizes=True)
