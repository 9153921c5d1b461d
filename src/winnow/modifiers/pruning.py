"""Pruning to a given sparsity: what magnitude pruning, movement pruning and AC/DC have in common."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn
from typing_extensions import TypeVar

from winnow.config.modifiers import PruningSettings
from winnow.functional.mask import count_pruned, global_pruning_masks, pruning_masks
from winnow.functional.structure import Structure
from winnow.modifiers.masks import PruningMasks, check_rows, match_linear_weights, match_targets
from winnow.modifiers.modifier import Event, Modifier

P = TypeVar("P", bound=PruningSettings)


class Pruning(Modifier[P]):
    """Zero the weights of the lowest scores in the matched matrices; a pruned weight stays zero.

    ``structure`` may be ``unstructured``; ``block4``, four weights in a row are pruned as one by their mean score; or
    ``N:M``, N weights are kept of each M in a row: during the ramp the lowest of those that the pattern prunes, at
    the end all of them. ``scope: global`` has one threshold for all matrices (Han et al. 2015, arXiv:1506.02626).
    """

    signed = False  # scores are magnitudes

    def __init__(self, *, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self.structure = Structure.parse(self.settings.structure)

    def match(self, model: nn.Module) -> None:
        weights = match_linear_weights(model, self.settings.params)
        final = self.settings.final_sparsity
        self.targets = match_targets(weights, final) if isinstance(final, dict) else dict.fromkeys(weights, final)
        if self.structure.sparsity is not None:
            self.targets = dict.fromkeys(self.targets, self.structure.sparsity)  # two thirds, not .667
        self.masks = PruningMasks({name: weights[name] for name in weights if name in self.targets})
        check_rows(self.masks.parameters, self.structure, self.name)

    def structure_changed(self, model: nn.Module) -> None:
        self.match(model)

    def matched(self) -> dict[str, nn.Parameter]:
        return self.masks.parameters

    def exclusive_targets(self) -> set[str]:
        return {f"the zeros of {name}" for name in self.masks.parameters}

    def is_update(self, step: int) -> bool:
        """True if masks are renewed at this step."""
        return self.window.is_update(step)

    def sparsities_at(self, step: int) -> list[float]:
        """The fraction of zeros that each matrix should have after an update at this step."""
        return [self.targets[name] for name in self.masks.parameters]

    def planned_zeros(self, sparsities: list[float]) -> dict[str, int]:
        """The number of zeros at given sparsities, by matrix; in global scope of all matrices together."""
        sizes = self._sizes()
        if self.settings.scope == "global":
            return {"all matrices": self.structure.zeros(sum(sizes.values()), sparsities[0])}
        return {name: self.structure.zeros(sizes[name], s) for name, s in zip(sizes, sparsities, strict=True)}

    def _sizes(self) -> dict[str, int]:
        return {name: weight.numel() for name, weight in self.masks.parameters.items()}

    def planned_sparsity(self, step: int) -> float:
        """The sparsity over all matrices after an update at this step."""
        return sum(self.planned_zeros(self.sparsities_at(step)).values()) / sum(self._sizes().values())

    def events(self) -> Iterator[Event]:
        for step in filter(self.is_update, self.window.updates()):
            yield Event(step, "prunes", self.planned_sparsity(step))

    def curves(self, step: int) -> dict[str, float]:
        if step < self.window.start:
            return {"sparsity": 0.0}
        last = self.window.end if step >= self.window.end else self.window.interval_around(step)[0]
        return {"sparsity": statistics.fmean(self.sparsities_at(last), weights=self._sizes().values())}

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, int] | None:
        if not self.is_update(step):
            return None
        return self.masks.update(self.new_masks(self.sparsities_at(step)), trainer.optimizers[0])

    def scores(self) -> list[Tensor]:
        """The scores by which the weights of each matrix are ranked, in the shapes of the matrices."""
        return list(self.masks.parameters.values())

    def new_masks(self, sparsities: list[float]) -> list[Tensor]:
        if self.settings.scope == "global":
            return global_pruning_masks(self.scores(), sparsities[0], self.structure, signed=self.signed)
        return pruning_masks(self.scores(), sparsities, self.structure, signed=self.signed)

    def on_before_optimizer_step(self, *args: Any) -> None:
        self.masks.apply_to_gradients()

    def is_settled(self, step: int) -> bool:
        return step >= self.window.end

    def check_model(self) -> None:
        sizes = self._sizes()
        zeros = {name: count_pruned(weight, self.structure) for name, weight in self.masks.parameters.items()}
        planned = self.planned_zeros([self.targets[name] for name in sizes])
        if self.settings.scope == "global":
            zeros, sizes = {"all matrices": sum(zeros.values())}, {"all matrices": sum(sizes.values())}
        short = [name for name in zeros if zeros[name] < planned[name]]
        if short:
            name = short[0]
            structure = "" if self.structure.width == 1 else f" in the structure {self.structure}"
            raise RuntimeError(
                f"{self.name}: {len(short)} of {len(sizes)} matrices have too few zeros: {name} has "
                f"{zeros[name]:,} zeros{structure} of {sizes[name]:,}, planned are {planned[name]:,}"
            )

    def facts(self) -> dict[str, Any]:
        pruning_epochs = self.clock.epoch(self.window.end - self.window.start)
        return {"pruned": True, "one_shot": pruning_epochs == 0, "pruning_epochs": pruning_epochs}

    def own_state(self) -> dict[str, Any]:
        return self.masks.state_dict()

    def load_own_state(self, state: dict[str, Any]) -> None:
        self.masks.load_state_dict(state)
