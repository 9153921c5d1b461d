"""Magnitude pruning: gradual (GMP), or in one step where the window has no length."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from winnow.errors import UserError
from winnow.functional.mask import count_pruned, global_pruning_masks, pruning_masks
from winnow.functional.schedule import scheduled_sparsity
from winnow.functional.structure import Structure
from winnow.modifiers.masks import PruningMasks, match_linear_weights, match_targets
from winnow.modifiers.modifier import Event, Modifier
from winnow.ranges import check_range


class MagnitudePruning(Modifier):
    """Zero the smallest weights of the matched matrices along a ramp from ``initial_sparsity`` to ``final_sparsity``.

    Masks are renewed every ``update_frequency`` epochs from ``start_epoch`` to ``end_epoch`` and frozen
    afterwards; a pruned weight stays zero. ``start_epoch == end_epoch`` prunes in one shot.
    (Zhu & Gupta 2017, arXiv:1710.01878; global scores: Han et al. 2015, arXiv:1506.02626.)

    Args:
        params: regular expressions that match full names of linear weights whole.
        initial_sparsity: fraction in [0, 1) of the first update.
        final_sparsity: fraction in [0, 1) of the last; or a mapping from regular expressions to fractions: the first
            that matches a name among those of ``params`` counts, matrices that none matches are not pruned.
        shape: cubic, linear or inverse_cubic.
        scope: ``matrix``, each reaches the sparsity; ``global``, one threshold over all of them.
        structure: ``unstructured``; ``block4``, four weights in a row are pruned as one by their mean magnitude; or
            ``N:M``, N weights are kept of each M in a row: on the ramp the smallest of those that the pattern
            prunes, in the end all of them.
    """

    signed = False  # scores are magnitudes

    def __init__(
        self,
        *,
        params: list[str],
        final_sparsity: float | Mapping[str, float],
        initial_sparsity: float = 0.0,
        shape: str = "cubic",
        scope: str = "matrix",
        structure: str | list[int] = "unstructured",
        **window: Any,
    ) -> None:
        super().__init__(**window)
        for name, value in {
            "initial_sparsity": initial_sparsity,
            "shape": shape,
            "scope": scope,
            "structure": structure,
        }.items():
            check_range(name, value)
        self.params = params
        self.initial_sparsity = initial_sparsity
        self.final_sparsity = final_sparsity
        self.shape = shape
        self.scope = scope
        self.structure = Structure.parse(structure)
        self._check_targets()

    def _check_targets(self) -> None:
        targets: dict[str, Any] = {"final_sparsity": self.final_sparsity}
        by_pattern = isinstance(self.final_sparsity, Mapping)
        if isinstance(self.final_sparsity, Mapping) and self.final_sparsity:
            targets = {f"final_sparsity[{pattern}]": target for pattern, target in self.final_sparsity.items()}
        for path, target in targets.items():
            check_range("final_sparsity", target, path)
            if target < self.initial_sparsity:
                raise UserError(
                    f"{self.name}: {path} is {target:g}, below initial_sparsity {self.initial_sparsity:g}; "
                    "it must not be."
                )
            exact = self.structure.sparsity
            if exact is not None and abs(target - exact) > 5e-4:
                raise UserError(
                    f"{self.name}: structure {self.structure} ends at a sparsity of {exact:.4g}, but {path} is "
                    f"{target:g}; set it to {exact:.4g}."
                )
        if self.scope == "global" and (by_pattern or self.structure.group):
            what = "a final_sparsity for each pattern" if by_pattern else f"structure {self.structure}"
            raise UserError(f"{self.name}: with {what} no threshold holds over all matrices; take scope=matrix.")

    def match(self, model: nn.Module) -> None:
        weights = match_linear_weights(model, self.params)
        if isinstance(self.final_sparsity, Mapping):
            self.targets = match_targets(weights, self.final_sparsity)
        else:
            self.targets = dict.fromkeys(weights, self.final_sparsity)
        if self.structure.sparsity is not None:
            self.targets = dict.fromkeys(self.targets, self.structure.sparsity)  # two thirds, not .667
        self.masks = PruningMasks({name: weights[name] for name in weights if name in self.targets})
        for name, weight in self.masks.parameters.items():
            if weight.shape[-1] % self.structure.width:
                raise UserError(
                    f"{self.name}: structure {self.structure} needs rows that divide by {self.structure.width}, but "
                    f"{name} is {tuple(weight.shape)}; leave it out by params."
                )

    def matched(self) -> dict[str, nn.Parameter]:
        return self.masks.parameters

    def rules(self) -> set[str]:
        return {f"the zeros of {name}" for name in self.masks.parameters}

    def acts(self, step: int) -> bool:
        """True if masks are renewed at this step."""
        return self.window.is_update(step)

    def sparsities_at(self, step: int) -> list[float]:
        """Fraction of zeros that the schedule asks of each matrix."""
        progress = self.window.progress(step)
        return [
            scheduled_sparsity(progress, initial=self.initial_sparsity, final=self.targets[name], shape=self.shape)
            for name in self.masks.parameters
        ]

    def planned_zeros(self, sparsities: list[float]) -> dict[str, int]:
        """Number of zeros that sparsities ask for, by matrix; in global scope of all together."""
        sizes = self._sizes()
        if self.scope == "global":
            return {"all matrices": self.structure.zeros(sum(sizes.values()), sparsities[0])}
        return {name: self.structure.zeros(sizes[name], s) for name, s in zip(sizes, sparsities, strict=True)}

    def _sizes(self) -> dict[str, int]:
        return {name: weight.numel() for name, weight in self.masks.parameters.items()}

    def events(self) -> Iterator[Event]:
        for step in filter(self.acts, self.window.updates()):
            zeros = self.planned_zeros(self.sparsities_at(step))
            yield Event(step, "prunes", sum(zeros.values()) / sum(self._sizes().values()))

    def curves(self, step: int) -> dict[str, float]:
        if step < self.window.start:
            return {"sparsity": 0.0}
        last = self.window.end if step >= self.window.end else self.window.interval_around(step)[0]
        return {"sparsity": statistics.fmean(self.sparsities_at(last), weights=self._sizes().values())}

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.acts(step):
            zeros = self.masks.update(self.new_masks(self.sparsities_at(step)), trainer.optimizers[0])
            self.report(trainer, pl_module, "prunes", zeros)

    def scores(self) -> list[Tensor]:
        """What the weights of each matrix are ranked by."""
        return list(self.masks.parameters.values())

    def new_masks(self, sparsities: list[float]) -> list[Tensor]:
        if self.scope == "global":
            return global_pruning_masks(self.scores(), sparsities[0], self.structure, signed=self.signed)
        return pruning_masks(self.scores(), sparsities, self.structure, signed=self.signed)

    def on_before_optimizer_step(self, *args: Any) -> None:
        self.masks.apply_to_gradients()

    def is_settled(self, step: int) -> bool:
        return step >= self.window.end

    def check(self) -> None:
        sizes = self._sizes()
        zeros = {name: count_pruned(weight, self.structure) for name, weight in self.masks.parameters.items()}
        planned = self.planned_zeros([self.targets[name] for name in sizes])
        if self.scope == "global":
            zeros, sizes = {"all matrices": sum(zeros.values())}, {"all matrices": sum(sizes.values())}
        short = [name for name in zeros if zeros[name] < planned[name]]
        if short:
            name = short[0]
            structure = "" if self.structure.width == 1 else f" in the structure {self.structure}"
            raise RuntimeError(
                f"{self.name}: {len(short)} of {len(sizes)} parameters are short of their sparsity: {name} has "
                f"{zeros[name]:,} zeros{structure} of {sizes[name]:,}, {planned[name]:,} are due"
            )

    def facts(self) -> dict[str, Any]:
        pruning_epochs = self.clock.epoch(self.window.end - self.window.start)
        return {"pruned": True, "one_shot": pruning_epochs == 0, "pruning_epochs": pruning_epochs}

    def state_dict(self) -> dict[str, Any]:
        return self.masks.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.masks.load_state_dict(state_dict)
