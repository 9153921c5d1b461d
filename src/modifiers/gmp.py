"""Magnitude pruning: gradual (GMP), or in one step where the window has no length."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from torch import nn

from src.functional.mask import global_magnitude_masks, magnitude_masks, zeros_count
from src.functional.schedule import scheduled_sparsity
from src.modifiers.base import Event, Modifier
from src.modifiers.masks import PruningMasks, match_linear_weights
from src.ranges import check_range


class MagnitudePruning(Modifier):
    """Zero the smallest weights of the matched matrices along a ramp from ``initial_sparsity`` to ``final_sparsity``.

    Masks are renewed every ``update_frequency`` epochs from ``start_epoch`` to ``end_epoch`` and frozen
    afterwards; a pruned weight stays zero. ``start_epoch == end_epoch`` prunes in one shot.
    (Zhu & Gupta 2017, arXiv:1710.01878; global scores: Han et al. 2015, arXiv:1506.02626.)

    Args:
        params: regular expressions that match full names of linear weights whole.
        initial_sparsity: fraction in [0, 1) of the first update.
        final_sparsity: fraction in [0, 1) of the last.
        shape: cubic, linear or inverse_cubic.
        scope: ``matrix``, each reaches the sparsity; ``global``, one threshold over all of them.
    """

    def __init__(
        self,
        *,
        params: list[str],
        final_sparsity: float,
        initial_sparsity: float = 0.0,
        shape: str = "cubic",
        scope: str = "matrix",
        **window: Any,
    ) -> None:
        super().__init__(**window)
        for name, value in {
            "initial_sparsity": initial_sparsity,
            "final_sparsity": final_sparsity,
            "shape": shape,
            "scope": scope,
        }.items():
            check_range(name, value)
        self.params = params
        self.initial_sparsity = initial_sparsity
        self.final_sparsity = final_sparsity
        self.shape = shape
        self.scope = scope

    def match(self, model: nn.Module) -> None:
        self.masks = PruningMasks(match_linear_weights(model, self.params))

    def matched(self) -> dict[str, nn.Parameter]:
        return self.masks.parameters

    def rules(self) -> set[str]:
        return {f"the zeros of {name}" for name in self.masks.parameters}

    def sparsity_at(self, step: int) -> float:
        """Fraction of zeros that the schedule asks for."""
        return scheduled_sparsity(
            self.window.progress(step), initial=self.initial_sparsity, final=self.final_sparsity, shape=self.shape
        )

    def events(self) -> Iterator[Event]:
        sizes = [weight.numel() for weight in self.masks.parameters.values()]
        if self.scope == "global":
            sizes = [sum(sizes)]
        for step in self.window.updates():
            zeros = sum(zeros_count(size, self.sparsity_at(step)) for size in sizes)
            yield Event(step, "prunes", zeros / sum(sizes))

    def curves(self, step: int) -> dict[str, float]:
        return {"sparsity": self.sparsity_at(step) if step >= self.window.start else 0.0}

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.window.is_update(step):
            return
        weights = list(self.masks.parameters.values())
        sparsity = self.sparsity_at(step)
        if self.scope == "global":
            masks = global_magnitude_masks(weights, sparsity)
        else:
            masks = magnitude_masks(weights, sparsity)
        self.masks.update(masks, trainer.optimizers[0])
        self.report(trainer, pl_module, "prunes", self.masks.sparsity())

    def on_before_optimizer_step(self, *args: Any) -> None:
        self.masks.apply_to_gradients()

    def is_settled(self, step: int) -> bool:
        return step >= self.window.end

    def check(self) -> None:
        zeros = self.masks.zeros()
        sizes = {name: weight.numel() for name, weight in self.masks.parameters.items()}
        if self.scope == "global":
            zeros, sizes = {"all matrices": sum(zeros.values())}, {"all matrices": sum(sizes.values())}
        short = [name for name in zeros if zeros[name] < zeros_count(sizes[name], self.final_sparsity)]
        if short:
            name = short[0]
            raise RuntimeError(
                f"{self.name}: {len(short)} of {len(sizes)} parameters are short of sparsity {self.final_sparsity}: "
                f"{name} has {zeros[name]:,} zeros of {sizes[name]:,}"
            )

    def facts(self) -> dict[str, Any]:
        pruning_epochs = self.clock.epoch(self.window.end - self.window.start)
        return {"pruned": True, "one_shot": pruning_epochs == 0, "pruning_epochs": pruning_epochs}

    def state_dict(self) -> dict[str, Any]:
        return self.masks.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.masks.load_state_dict(state_dict)
