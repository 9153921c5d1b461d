"""Another weight decay within a window."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl

from winnow.config.modifiers import WeightDecaySettings
from winnow.modifiers.modifier import Event, Modifier


class WeightDecay(Modifier[WeightDecaySettings]):
    """Set the weight decay within the window; afterwards that of the optimizer applies (Loshchilov & Hutter 2019).

    Biases and norms stay without: a parameter group of the optimizer is changed if its key ``decayed`` is true, or, in
    an optimizer without that key, if the group has a parameter of two or more dimensions.
    """

    Settings = WeightDecaySettings

    def __init__(self, *, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self._of_optimizer: list[float] = []  # the weight decay of each group before the window

    def exclusive_targets(self) -> set[str]:
        return {"the weight decay"}

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, f"weight decay {self.settings.weight_decay:g}")
        if self.window.end < self.clock.total_steps:
            yield Event(self.window.end, "weight decay of the optimizer")

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        groups = trainer.optimizers[0].param_groups
        if step == self.window.start:
            self._of_optimizer = [group["weight_decay"] for group in groups]
        if step in (self.window.start, self.window.end):
            for group, before in zip(groups, self._of_optimizer, strict=True):
                if group.get("decayed", any(parameter.ndim > 1 for parameter in group["params"])):
                    group["weight_decay"] = self.settings.weight_decay if self.window.contains(step) else before

    def own_state(self) -> dict[str, Any]:
        return {"of_optimizer": self._of_optimizer}

    def load_own_state(self, state: dict[str, Any]) -> None:
        self._of_optimizer = state["of_optimizer"]
