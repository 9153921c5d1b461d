"""Frozen parameters: some of the model's parameters do not train within a window, or at all."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from torch import nn

from winnow.config.modifiers import FrozenParametersSettings
from winnow.errors import UserError
from winnow.modifiers.modifier import Event, Modifier, model_of
from winnow.modifiers.patterns import matching


class FrozenParameters(Modifier[FrozenParametersSettings]):
    """Keep the matched parameters as they are within the window: no update, no weight decay, no moments.

    Their gradients do not count in the norm that gradients are clipped to. A frozen matrix that a pruner matches is
    still pruned; its other weights stay as they are.
    """

    Settings = FrozenParametersSettings

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        start, end = self.settings.start_epoch, self.settings.end_epoch
        if start <= 0 and (end == -1 or end >= (trainer.max_epochs or 0)):
            for parameter in self._frozen.values():
                parameter.requires_grad_(False)  # the backward pass stops earlier; the optimizer does not get them
            if not any(parameter.requires_grad for parameter in model_of(pl_module).parameters()):
                raise UserError(
                    f"{self.name}.params: with these, every parameter of the model is frozen; leave some to train."
                )

    def match(self, model: nn.Module) -> None:
        parameters = dict(model.named_parameters())
        names = matching(self.settings.params, parameters, setting=f"{self.name}.params", kind="parameters")
        if len(names) == len(parameters):
            raise UserError(f"{self.name}.params: every parameter of the model is frozen; leave some to train.")
        self._frozen = {name: parameter for name, parameter in parameters.items() if name in names}

    def matched(self) -> dict[str, nn.Parameter]:
        return self._frozen

    def events(self) -> Iterator[Event]:
        count = sum(parameter.numel() for parameter in self._frozen.values())
        yield Event(self.window.start, f"freezes {count:,} parameters")
        if self.window.end < self.clock.total_steps:
            yield Event(self.window.end, f"trains {count:,} parameters again")

    def on_before_optimizer_step(self, *args: Any) -> None:
        if self.window.contains(self._last_step):
            for parameter in self._frozen.values():
                parameter.grad = None
