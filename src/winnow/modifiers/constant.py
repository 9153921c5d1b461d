"""Constant pruning: the zeros a model comes with stay zeros (sparse transfer)."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from torch import nn

from winnow.errors import UserError
from winnow.modifiers.masks import PruningMasks, match_linear_weights
from winnow.modifiers.modifier import Event, Modifier
from winnow.ranges import check_range


class ConstantPruning(Modifier):
    """Freeze the zeros that the matched matrices hold when training starts (Chen et al. 2020, arXiv:2007.12223).

    Args:
        params: regular expressions that match full names of linear weights whole.
        min_sparsity: a model with a smaller fraction of zeros in these weights is refused.
    """

    def __init__(self, *, params: list[str], min_sparsity: float = 0.0, **window: Any) -> None:
        super().__init__(**window)
        check_range("min_sparsity", min_sparsity)
        self.params = params
        self.min_sparsity = min_sparsity

    def match(self, model: nn.Module) -> None:
        self.masks = PruningMasks(match_linear_weights(model, self.params))
        known = not any(weight.is_meta for weight in self.masks.parameters.values())
        if known and self.start_epoch <= 0:  # later, another modifier may have pruned before
            self._count_zeros()

    def matched(self) -> dict[str, nn.Parameter]:
        return self.masks.parameters

    def rules(self) -> set[str]:
        return {f"the zeros of {name}" for name in self.masks.parameters}

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, "keeps the zeros there are")

    def _count_zeros(self) -> None:
        self._zeros_at_start = self.masks.zeros()
        if not any(self._zeros_at_start.values()):
            raise UserError(
                f"{self.name} keeps the zeros of a sparse model, but the starting model has none in the "
                f"{len(self.masks.parameters)} matched matrices; name a pruned one with model.name=FOLDER."
            )
        total = sum(weight.numel() for weight in self.masks.parameters.values())
        rounding = 0.5 * len(self.masks.parameters)  # a matrix has whole zeros, at most half a one too few
        if sum(self._zeros_at_start.values()) + rounding < self.min_sparsity * total:
            raise UserError(
                f"{self.name}.min_sparsity promises {100 * self.min_sparsity:g} % zeros, but the starting model has "
                f"{100 * self.masks.sparsity():.2f} % in the {len(self.masks.parameters)} matched matrices; name a "
                "sparser one with model.name=FOLDER, or take recipe=transfer, which keeps what zeros there are."
            )

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if step == self.window.start:
            self._count_zeros()  # the weights may have changed since
            masks = [weight != 0 for weight in self.masks.parameters.values()]
            zeros = self.masks.update(masks, trainer.optimizers[0])
            self.report(trainer, pl_module, "keeps the zeros there are", zeros)

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
