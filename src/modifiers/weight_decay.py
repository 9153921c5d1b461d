"""Weight decay from one epoch on."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl

from src.modifiers.base import Event, Modifier
from src.ranges import check_range


class WeightDecay(Modifier):
    """Set the weight decay when the window starts; biases and norms stay without (Loshchilov & Hutter 2019).

    Args:
        weight_decay: 0 or more.
    """

    def __init__(self, *, weight_decay: float, **window: Any) -> None:
        super().__init__(**window)
        check_range("weight_decay", weight_decay)
        self.weight_decay = weight_decay

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, f"weight decay {self.weight_decay:g}")

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if step != self.window.start:
            return
        for group in trainer.optimizers[0].param_groups:
            if group["decayed"]:
                group["weight_decay"] = self.weight_decay
        self.report_events(step, trainer, pl_module)
