"""Constant pruning: the zeros of the starting model stay zeros (sparse transfer)."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from torch import nn

from winnow.config.modifiers import ConstantPruningSettings
from winnow.errors import UserError
from winnow.functional.mask import count_pruned
from winnow.functional.structure import Structure
from winnow.modifiers.masks import PruningMasks, check_rows, match_linear_weights
from winnow.modifiers.modifier import Event, Modifier


class ConstantPruning(Modifier[ConstantPruningSettings]):
    """Freeze the zeros that the matched matrices have at ``start_epoch`` (Chen et al. 2020, arXiv:2007.12223).

    A starting model whose matched matrices have fewer zeros than ``min_sparsity`` is refused. With a ``structure`` only
    the zeros that follow it count: in whole blocks, or in each group no more than N:M prunes.
    """

    Settings = ConstantPruningSettings

    def match(self, model: nn.Module) -> None:
        self.structure = Structure.parse(self.settings.structure)
        self.masks = PruningMasks(match_linear_weights(model, self.settings.params))
        check_rows(self.masks.parameters, self.structure, self.name)
        known = not any(weight.is_meta for weight in self.masks.parameters.values())
        if known and self.settings.start_epoch <= 0:  # later, another modifier may have pruned before
            self._require_zeros()

    def structure_changed(self, model: nn.Module) -> None:
        self.match(model)

    def matched(self) -> dict[str, nn.Parameter]:
        return self.masks.parameters

    def exclusive_targets(self) -> set[str]:
        return {f"the zeros of {name}" for name in self.masks.parameters}

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, "keeps the zeros there are")

    def _require_zeros(self) -> None:
        self._zeros_at_start = self.masks.zeros()
        min_sparsity, weights = self.settings.min_sparsity, self.masks.parameters.values()
        zeros, total = sum(count_pruned(w, self.structure) for w in weights), sum(w.numel() for w in weights)
        kind = "zeros" if self.structure.width == 1 else f"zeros in the structure {self.structure}"
        if not zeros:
            raise UserError(
                f"{self.name} keeps the {kind} of a sparse model, but the starting model has none in the "
                f"{len(weights)} matched matrices; name a pruned model with model.name=FOLDER."
            )
        rounding = 0.5 * self.structure.block * len(weights)  # a matrix has whole blocks, at most half a one too few
        if zeros + rounding < min_sparsity * total:
            raise UserError(
                f"{self.name}.min_sparsity requires {100 * min_sparsity:g} % {kind}, but the starting model has "
                f"{100 * zeros / total:.2f} % in the {len(weights)} matched matrices; name a sparser model with "
                "model.name=FOLDER, or use recipe=transfer, which requires none."
            )

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, int] | None:
        if step != self.window.start:
            return None
        self._require_zeros()  # the weights may have changed since they were matched
        masks = [weight != 0 for weight in self.masks.parameters.values()]
        return self.masks.update(masks, trainer.optimizers[0])

    def on_before_optimizer_step(self, *args: Any) -> None:
        self.masks.apply_to_gradients()

    def check_model(self) -> None:
        zeros = self.masks.zeros()
        lost = [name for name, count in self._zeros_at_start.items() if zeros[name] < count]
        if lost:
            raise RuntimeError(
                f"{self.name}: {len(lost)} matrices lost zeros: {lost[0]} has {zeros[lost[0]]:,}, it had "
                f"{self._zeros_at_start[lost[0]]:,}"
            )

    def facts(self) -> dict[str, Any]:
        return {"pruned": True, "one_shot": False, "pruning_epochs": 0.0}

    def own_state(self) -> dict[str, Any]:
        return self.masks.state_dict()

    def load_own_state(self, state: dict[str, Any]) -> None:
        self.masks.load_state_dict(state)
        if state:  # saved after start_epoch
            self._zeros_at_start = self.masks.pruned()
