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
    A pruned weight is remembered, and its score goes on with the value that it had and the gradient that it would
    have: until the ramp ends, an update lets it return with that value. Before the first step there are no scores: an
    update at that moment is left out, and a window that ends there is refused.
    """

    signed = True

    def __init__(self, *, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self._scores: list[Tensor] = []
        self._pruned: list[Tensor] = []  # the values that pruned weights had, zero elsewhere

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
        if trainer.global_step < self.window.end:
            self._add_scores()
        super().on_before_optimizer_step(trainer, *args)  # zeroes the gradients of pruned weights

    @torch.no_grad()
    def _add_scores(self) -> None:
        weights = self._weights()
        if not self._scores:
            self._scores = [torch.zeros_like(weight) for weight in weights]
            self._pruned = [torch.zeros_like(weight) for weight in weights]
        # Lightning restores both before it moves the model to its device.
        self._scores = [score.to(weight.device) for score, weight in zip(self._scores, weights, strict=True)]
        self._pruned = [value.to(weight.device) for value, weight in zip(self._pruned, weights, strict=True)]
        gradients = [
            torch.zeros_like(w) if p.grad is None else p.grad
            for w, p in zip(weights, self.matched().values(), strict=True)
        ]
        if torch.nn.utils.get_total_norm(gradients).isfinite():  # in fp16 the step is left out otherwise
            torch._foreach_addcmul_(self._scores, weights, gradients, -1.0)
            torch._foreach_addcmul_(self._scores, self._pruned, gradients, -1.0)

    def scores(self) -> list[Tensor]:
        return [score.masked_fill_(w == 0, -math.inf) for score, w in zip(self._scores, self._weights(), strict=True)]

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, int] | None:
        if not self.is_update(step):
            return None
        weights = self._weights()
        torch._foreach_add_(weights, self._pruned)
        self._pruned = [weight.clone() for weight in weights]
        zeros = super().at_step(step, trainer, pl_module)
        torch._foreach_sub_(self._pruned, weights)
        if step >= self.window.end:
            self._scores, self._pruned = [], []  # masks are frozen: checkpoints do not need them
        return zeros

    def _weights(self) -> list[Tensor]:
        return [weight.detach() for weight in self.matched().values()]

    def own_state(self) -> dict[str, Any]:
        names = self.matched()
        scores = {f"score of {name}": score for name, score in zip(names, self._scores, strict=False)}
        pruned = {f"pruned of {name}": value for name, value in zip(names, self._pruned, strict=False)}
        return {**super().own_state(), **scores, **pruned}

    def load_own_state(self, state: dict[str, Any]) -> None:
        super().load_own_state(state)
        self._scores = [state[f"score of {name}"] for name in self.matched() if f"score of {name}" in state]
        self._pruned = [state[f"pruned of {name}"] for name in self.matched() if f"pruned of {name}" in state]
