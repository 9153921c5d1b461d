"""The learning rate over the steps of a run: constant, falling, in cycles or in steps; with a warm-up."""

from collections.abc import Iterator

import pytorch_lightning as pl

from winnow.config.modifiers import LearningRateSettings
from winnow.errors import UserError
from winnow.functional import learning_rate_schedule as rates
from winnow.modifiers.clock import Clock, Window
from winnow.modifiers.modifier import Event, Modifier


class LearningRate(Modifier[LearningRateSettings]):
    """Set the rate of all parameters before each optimizer step of a window; afterwards the last rate stays.

    A linear or cosine fall begins at the end of the warm-up and reaches the final rate at the end of the window.
    ``cyclic_linear`` and ``cyclic_cosine`` restart every ``cycle_epochs``; ``step`` multiplies by ``gamma`` every
    ``step_epochs``. Several of these modifiers may follow one another. A window without steps has no effect.
    """

    Settings = LearningRateSettings
    order = -100  # other modifiers record the rate at their events

    def begin(self, clock: Clock) -> None:
        super().begin(clock)
        start, end = self.window.start, self.window.end
        self.warm = start + round((end - start) * self.settings.warmup)
        every = self.settings.cycle_epochs if self.settings.is_cyclic else self.settings.step_epochs
        self.cycles = Window(self.warm, end, clock.length(every) if every else max(1, end - self.warm))

    def rate(self, step: int) -> float:
        """The rate after ``step`` optimizer steps; outside the window the nearest rate within it."""
        step = min(max(step, self.window.start), self.window.end)
        if step < self.warm:
            return self.settings.initial_learning_rate * (step - self.window.start) / (self.warm - self.window.start)
        return self._after_warmup(step)

    def _after_warmup(self, step: int) -> float:
        """In a cycle of C steps the k-th has initial + k / (C - 1) * (final - initial), so that the last has the final
        rate; without cycles the end of the window would have it."""
        settings = self.settings
        last = max(self.warm, self.window.end - 1)
        begun, ends = self.cycles.interval_around(min(step, last))
        if settings.schedule == "constant":
            return settings.initial_learning_rate
        if settings.schedule == "step":
            falls = round((begun - self.warm) / self.cycles.interval)
            return settings.initial_learning_rate * settings.gamma**falls
        progress = self.cycles.progress(step)
        if settings.is_cyclic:
            progress = (min(step, last) - begun) / max(1, ends - begun - 1)
        curve = rates.cosine if settings.schedule.endswith("cosine") else rates.linear
        return curve(progress, initial=settings.initial_learning_rate, final=settings.final_learning_rate)

    @property
    def _is_empty(self) -> bool:
        return self.window.start == self.window.end

    def events(self) -> Iterator[Event]:
        if self._is_empty:
            return
        if self.warm > self.window.start:
            yield Event(self.window.start, "warm-up begins")
        yield Event(self.warm, "learning rate: " + self.settings.schedule.replace("_", " "))
        if self.settings.is_cyclic or self.settings.schedule == "step":
            for step in self.cycles.updates()[1:-1]:
                yield Event(step, "learning rate restarts" if self.settings.is_cyclic else "learning rate falls")

    def exclusive_targets(self) -> set[str]:
        return {"the learning rate"}

    def curves(self, step: int) -> dict[str, float]:
        return {"learning rate": self.rate(step)} if step >= self.window.start and not self._is_empty else {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.lr_scheduler_configs:
            raise UserError(
                f"{self.name} and a scheduler of configure_optimizers both set the learning rate; leave one out, "
                "of a recipe by '~recipe.learning_rate'."
            )
        super().on_train_start(trainer, pl_module)

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.window.start <= step <= self.window.end and not self._is_empty:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = self.rate(step)
