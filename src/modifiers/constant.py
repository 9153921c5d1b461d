"""Constant pruning: the zeros a model comes with stay zeros (sparse transfer)."""

from typing import Any

import pytorch_lightning as pl
from torch import nn

from src.errors import UserError
from src.modifiers.base import Modifier
from src.modifiers.masks import PruningMasks, match_linear_weights


class ConstantPruning(Modifier):
    """Freeze the zeros that the matched matrices hold when training starts (Chen et al. 2020, arXiv:2007.12223).

    Args:
        params: regular expressions that match full names of linear weights whole.
    """

    def __init__(self, *, params: list[str], **window: Any) -> None:
        super().__init__(**window)
        self.params = params

    def match(self, model: nn.Module) -> None:
        self.masks = PruningMasks(match_linear_weights(model, self.params))
        self._count_zeros()

    def _count_zeros(self) -> None:
        self._zeros_at_start = self.masks.zeros()
        if not any(self._zeros_at_start.values()):
            raise UserError(
                f"{self.name} keeps the zeros of a sparse model, but the starting model has none in the "
                f"{len(self.masks.parameters)} matched matrices; name a pruned one with model.name=FOLDER."
            )

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if step == self.window.start:
            self._count_zeros()  # the weights may have changed since
            self.masks.update([weight != 0 for weight in self.masks.parameters.values()], trainer.optimizers[0])
            self.report(trainer, pl_module, "sparsity", self.masks.sparsity())

    def on_before_optimizer_step(self, *args: Any) -> None:
        self.masks.apply_to_gradients()

    def check(self) -> None:
        zeros = self.masks.zeros()
        lost = [name for name, count in self._zeros_at_start.items() if zeros[name] < count]
        if lost:
            raise RuntimeError(f"{self.name}: {len(lost)} parameters lost zeros, {lost[0]} the first")

    def facts(self) -> dict[str, Any]:
        return {"pruned": True, "one_shot": False, "pruning_epochs": 0.0}

    def state_dict(self) -> dict[str, Any]:
        return self.masks.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.masks.load_state_dict(state_dict)
