"""Movement pruning: prune the weights that training moves towards zero."""

import math
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
    A block has the mean of its scores. Unlike there, a pruned weight stays zero. Before the first step there are no
    scores: an update due then is left out, and a window that ends there is refused.
    """

    signed = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._scores: list[Tensor] = []

    def begin(self, clock: Clock) -> None:
        super().begin(clock)
        if self.window.end == 0:
            raise UserError(
                f"{self.name}: movement pruning ranks weights by the gradients of steps before; raise end_epoch, so "
                "that it ends after the first step, or take magnitude pruning."
            )

    def acts(self, step: int) -> bool:
        return step > 0 and super().acts(step)

    def on_before_optimizer_step(self, trainer: pl.Trainer, *args: Any) -> None:
        # Called once for each optimizer step, with gradients accumulated, averaged over processes and unscaled.
        super().on_before_optimizer_step(trainer, *args)
        if trainer.global_step < self.window.end:
            self._add_scores()

    @torch.no_grad()
    def _add_scores(self) -> None:
        weights = list(self.masks.parameters.values())
        if not self._scores:
            self._scores = [torch.zeros_like(weight, requires_grad=False) for weight in weights]
        # Lightning restores them before it moves the model.
        self._scores = [score.to(weight.device) for score, weight in zip(self._scores, weights, strict=True)]
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        if torch.nn.utils.get_total_norm(gradients).isfinite():  # in fp16 the step is left out otherwise
            torch._foreach_addcmul_(self._scores, weights, gradients, -1.0)

    def scores(self) -> list[Tensor]:
        weights = self.masks.parameters.values()
        return [score.masked_fill_(w == 0, -math.inf) for score, w in zip(self._scores, weights, strict=True)]

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().at_step(step, trainer, pl_module)
        if step >= self.window.end:
            self._scores = []  # masks are frozen: checkpoints need not carry them

    def state_dict(self) -> dict[str, Any]:
        scores = zip(self.masks.parameters, self._scores, strict=False)
        return {**super().state_dict(), **{f"score of {name}": score for name, score in scores}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        scores = [state_dict.get(f"score of {name}") for name in self.masks.parameters]
        self._scores = [score for score in scores if score is not None]
