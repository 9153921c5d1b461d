"""Weight decay from one epoch on."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl

from winnow.modifiers.modifier import Event, Modifier
from winnow.ranges import check_range


class WeightDecay(Modifier):
    """Set the weight decay within the window; biases and norms stay without (Loshchilov & Hutter 2019).

    Args:
        weight_decay: 0 or more; after the window that of the optimizer's settings holds again.
    """

    def __init__(self, *, weight_decay: float, **window: Any) -> None:
        super().__init__(**window)
        check_range("weight_decay", weight_decay)
        self.weight_decay = weight_decay

    def rules(self) -> set[str]:
        return {"the weight decay"}

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, f"weight decay {self.weight_decay:g}")
        if self.window.end < self.clock.total_steps:
            yield Event(self.window.end, "weight decay of the optimizer")

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if step not in (self.window.start, self.window.end):
            return
        own = pl_module.optimizer_settings["weight_decay"]
        for group in trainer.optimizers[0].param_groups:
            if group["decayed"]:
                group["weight_decay"] = self.weight_decay if self.window.contains(step) else own
        self.report_events(step, trainer, pl_module)
