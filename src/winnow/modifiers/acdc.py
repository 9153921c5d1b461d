"""AC/DC: training alternates between all weights and a pruned model."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl

from winnow.modifiers.clock import Clock, Window
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.modifier import Event

FREED = "sets all weights free"


class AlternatingPruning(MagnitudePruning):
    """Alternate between dense and sparse phases, and end sparse (Peste et al. 2021, arXiv:2106.12379).

    From ``start_epoch`` on phases of ``update_frequency`` epochs follow one another, the first dense. A sparse
    phase begins with masks of the largest magnitudes at ``final_sparsity``, fresh but for weights that are still
    zero; at its end the masks are lifted, and the optimizer's moments of the matched matrices start anew, with their
    bias correction. The last sparse phase that begins before ``end_epoch`` never ends: a dense one that would be
    left at the end is cut, as SparseML means to (but misses for some lengths). A window too short for two phases
    prunes at its end. The model counts as finished from ``end_epoch`` on.

    Args:
        params, final_sparsity, scope, structure: see `MagnitudePruning`.
        update_frequency: epochs of a phase.
    """

    def __init__(
        self,
        *,
        params: list[str],
        final_sparsity: float | Mapping[str, float],
        scope: str = "matrix",
        structure: str | list[int] = "unstructured",
        **window: Any,
    ) -> None:
        super().__init__(params=params, final_sparsity=final_sparsity, scope=scope, structure=structure, **window)

    def begin(self, clock: Clock) -> None:
        super().begin(clock)
        self._prunes_at = phases(self.window)

    def acts(self, step: int) -> bool:
        return self._prunes_at.get(step, False)

    def sparsities_at(self, step: int) -> list[float]:
        return [self.targets[name] for name in self.masks.parameters]

    def events(self) -> Iterator[Event]:
        zeros = sum(self.planned_zeros(self.sparsities_at(0)).values())
        sparsity = zeros / sum(weight.numel() for weight in self.masks.parameters.values())
        for step, prunes in self._prunes_at.items():
            yield Event(step, "prunes", sparsity) if prunes else Event(step, FREED, 0.0)

    def curves(self, step: int) -> dict[str, float]:
        begun = [prunes for start, prunes in self._prunes_at.items() if start <= step]
        return super().curves(step) if begun and begun[-1] else {"sparsity": 0.0}

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().at_step(step, trainer, pl_module)
        if self._prunes_at.get(step) is False:
            self.report(trainer, pl_module, FREED, self.masks.lift(trainer.optimizers[0]))


def phases(window: Window) -> dict[int, bool]:
    """The steps at which a phase begins, after the first, which is dense; True where it is sparse. The last is."""
    found = {step: i % 2 == 0 for i, step in enumerate(window.updates()[1:-1])}
    if len(found) % 2 == 0 and found:
        found.popitem()
    return found or {window.end: True}
