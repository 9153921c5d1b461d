"""Movement pruning: prune the weights that training moves towards zero."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from winnow.errors import UserError
from winnow.modifiers.clock import Clock
from winnow.modifiers.gmp import MagnitudePruning


class MovementPruning(MagnitudePruning):
    """Zero the weights of the lowest scores along the ramp of `MagnitudePruning`; the settings are the same.

    The score of a weight is the sum of -w * dL/dw over all optimizer steps so far, from the first of the run on
    (Sanh et al. 2020, arXiv:2005.07683, eq. 3, hard movement pruning; its constant learning rate of the scores, .01
    in SparseML, changes no rank and is left out). The gradients are those of a whole optimizer step, before clipping.
    Unlike there, a pruned weight stays zero. Before the first step there are no scores: an update at that moment is
    left out, and a window that ends there is refused.
    """

    signed = True

    def __init__(self, *, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self._scores: list[Tensor] = []

    def begin(self, clock: Clock) -> None:
        super().begin(clock)
        if self.window.end == 0:
            raise UserError(
                f"{self.name}: movement pruning ranks weights by the gradients of earlier steps, but its window ends "
                "before the first step; raise end_epoch, or use magnitude pruning."
            )

    def is_update(self, step: int) -> bool:
        return step > 0 and super().is_update(step)

    def on_before_optimizer_step(self, trainer: pl.Trainer, *args: Any) -> None:
        # Called once for each optimizer step, with gradients accumulated, averaged over processes and unscaled.
        super().on_before_optimizer_step(trainer, *args)
        if trainer.global_step < self.window.end:
            self._add_scores()

    @torch.no_grad()
    def _add_scores(self) -> None:
        weights: list[Tensor] = list(self.masks.parameters.values())
        if not self._scores:
            self._scores = [torch.zeros_like(weight, requires_grad=False) for weight in weights]
        # Lightning restores the scores before it moves the model to its device.
        self._scores = [score.to(weight.device) for score, weight in zip(self._scores, weights, strict=True)]
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        if torch.nn.utils.get_total_norm(gradients).isfinite():  # in fp16 the step is left out otherwise
            torch._foreach_addcmul_(self._scores, weights, gradients, -1.0)

    def scores(self) -> list[Tensor]:
        weights = self.masks.parameters.values()
        return [score.masked_fill_(w == 0, -math.inf) for score, w in zip(self._scores, weights, strict=True)]

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, int] | None:
        zeros = super().at_step(step, trainer, pl_module)
        if step >= self.window.end:
            self._scores = []  # masks are frozen: checkpoints do not need the scores
        return zeros

    def own_state(self) -> dict[str, Any]:
        scores = zip(self.masks.parameters, self._scores, strict=False)
        return {**super().own_state(), **{f"score of {name}": score for name, score in scores}}

    def load_own_state(self, state: dict[str, Any]) -> None:
        super().load_own_state(state)
        scores = [state.get(f"score of {name}") for name in self.masks.parameters]
        self._scores = [score for score in scores if score is not None]
