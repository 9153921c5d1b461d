"""AC/DC: training alternates between a dense and a pruned model."""

from collections.abc import Iterator, Mapping

import pytorch_lightning as pl

from winnow.config.modifiers import AlternatingPruningSettings
from winnow.modifiers.clock import Clock, Window
from winnow.modifiers.modifier import Event
from winnow.modifiers.pruning import Pruning

DENSE = "dense phase begins"


class AlternatingPruning(Pruning[AlternatingPruningSettings]):
    """Alternate between dense and sparse phases, and end sparse (Peste et al. 2021, arXiv:2106.12379).

    From ``start_epoch`` on, phases of ``update_frequency`` epochs follow one another, the first dense. A sparse
    phase begins with new masks of the largest magnitudes at ``final_sparsity``; a weight that is still zero stays
    pruned. At its end the masks are removed, and the optimizer's state of the matched matrices is reset. The last
    sparse phase that begins before ``end_epoch`` never ends: a dense phase that would be left at the end is cut, as
    SparseML intends (its rule misses some lengths). A window too short for two phases prunes at its end. The model
    counts as finished from ``end_epoch`` on.
    """

    Settings = AlternatingPruningSettings

    def begin(self, clock: Clock) -> None:
        super().begin(clock)
        self._phases = phases(self.window)

    def is_update(self, step: int) -> bool:
        return self._phases.get(step, False)

    def events(self) -> Iterator[Event]:
        for step, is_sparse in self._phases.items():
            yield Event(step, "prunes", self.planned_sparsity(step)) if is_sparse else Event(step, DENSE, 0.0)

    def curves(self, step: int) -> dict[str, float]:
        begun = [is_sparse for start, is_sparse in self._phases.items() if start <= step]
        return super().curves(step) if begun and begun[-1] else {"sparsity": 0.0}

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, int] | None:
        if self._phases.get(step) is False:
            return self.masks.remove(trainer.optimizers[0])
        return super().at_step(step, trainer, pl_module)


def phases(window: Window) -> dict[int, bool]:
    """The steps at which a phase begins, after the first, dense one; True for a sparse phase. The last is sparse."""
    found = {step: i % 2 == 0 for i, step in enumerate(window.updates()[1:-1])}
    if len(found) % 2 == 0 and found:
        found.popitem()
    return found or {window.end: True}
