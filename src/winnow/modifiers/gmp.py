"""Magnitude pruning: gradual (GMP), or in one step where the window has no length."""

from typing_extensions import TypeVar

from winnow.config.modifiers import MagnitudePruningSettings
from winnow.functional.schedule import scheduled_sparsity
from winnow.modifiers.pruning import Pruning

G = TypeVar("G", bound=MagnitudePruningSettings, default=MagnitudePruningSettings)


class MagnitudePruning(Pruning[G]):
    """Zero the smallest weights of the matched matrices along a ramp from ``initial_sparsity`` to ``final_sparsity``.

    Masks are renewed every ``update_frequency`` epochs from ``start_epoch`` to ``end_epoch`` and frozen
    afterwards. ``start_epoch == end_epoch`` prunes in one shot (Zhu & Gupta 2017, arXiv:1710.01878).
    """

    Settings = MagnitudePruningSettings

    def sparsities_at(self, step: int) -> list[float]:
        progress, settings = self.window.progress(step), self.settings
        return [
            scheduled_sparsity(
                progress, initial=min(settings.initial_sparsity, target), final=target, shape=settings.shape
            )
            for target in super().sparsities_at(step)
        ]
