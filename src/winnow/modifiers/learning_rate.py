"""The learning rate over the steps of a run: constant, falling, in cycles, in steps; with a warm-up."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl

from winnow.errors import UserError
from winnow.functional import learning_rate_schedule as rates
from winnow.modifiers.clock import Clock, Window
from winnow.modifiers.modifier import Event, Modifier
from winnow.ranges import check_range


class LearningRate(Modifier):
    """Set the rate of all parameters before each optimizer step of a window; after it the last rate stays.

    A linear or cosine fall begins when the warm-up is over, and would reach the final rate at the end of the
    window. Several of these may follow one another.

    Args:
        schedule: constant, linear, cosine, cyclic_linear, cyclic_cosine (restarts every ``cycle_epochs``) or step
            (times ``gamma`` every ``step_epochs``).
        initial_learning_rate: at the start, or after the warm-up.
        final_learning_rate: at the end of the window, or of each cycle; constant and step have none.
        warmup: fraction of the window's steps over which the rate rises from 0.
        cycle_epochs: length of a cycle.
        step_epochs: length of a step.
        gamma: factor of a step.
    """

    order = -100  # the others record the rate that holds at their event

    def __init__(
        self,
        *,
        schedule: str,
        initial_learning_rate: float,
        final_learning_rate: float = 0.0,
        warmup: float = 0.0,
        cycle_epochs: float | None = None,
        step_epochs: float | None = None,
        gamma: float = 0.1,
        **window: Any,
    ) -> None:
        super().__init__(**window)
        for name, value in {
            "schedule": schedule,
            "initial_learning_rate": initial_learning_rate,
            "final_learning_rate": final_learning_rate,
            "warmup": warmup,
            "gamma": gamma,
        }.items():
            check_range(name, value)
        self.schedule = schedule
        self.cyclic = schedule.startswith("cyclic")
        for name, length, needed in (
            ("cycle_epochs", cycle_epochs, self.cyclic),
            ("step_epochs", step_epochs, schedule == "step"),
        ):
            check_range(name, length)
            if needed and length is None:
                raise UserError(f"{self.name}: schedule={schedule} needs {name}, the length of one in epochs.")
        self.initial = initial_learning_rate
        self.final = final_learning_rate
        self.warmup = warmup
        self.cycle_epochs = cycle_epochs
        self.step_epochs = step_epochs
        self.gamma = gamma

    def begin(self, clock: Clock) -> None:
        super().begin(clock)
        start, end = self.window.start, self.window.end
        self.warm = start + round((end - start) * self.warmup)
        every = self.cycle_epochs if self.cyclic else self.step_epochs
        self.cycles = Window(self.warm, end, clock.length(every) if every else max(1, end - self.warm))

    def rate(self, step: int) -> float:
        """The rate of the optimizer step that follows ``step`` others; outside the window the nearest one in it."""
        step = min(max(step, self.window.start), self.window.end)
        if step < self.warm:
            return self.initial * (step - self.window.start) / (self.warm - self.window.start)
        return self._after_warmup(step)

    def _after_warmup(self, step: int) -> float:
        """In a cycle of C steps the k-th has initial + k / (C - 1) * (final - initial), so that the last has the final
        rate; without cycles the end of the window would have it."""
        last = max(self.warm, self.window.end - 1)
        begun, ends = self.cycles.interval_around(min(step, last))
        if self.schedule == "constant":
            return self.initial
        if self.schedule == "step":
            return self.initial * self.gamma ** round((begun - self.warm) / self.cycles.interval)
        progress = self.cycles.progress(step)
        if self.cyclic:
            progress = (min(step, last) - begun) / max(1, ends - begun - 1)
        curve = rates.cosine if self.schedule.endswith("cosine") else rates.linear
        return curve(progress, initial=self.initial, final=self.final)

    def events(self) -> Iterator[Event]:
        if self.warm > self.window.start:
            yield Event(self.window.start, "learning rate rises")
        yield Event(self.warm, "learning rate: " + self.schedule.replace("_", " "))
        if self.cyclic or self.schedule == "step":
            for step in self.cycles.updates()[1:-1]:
                yield Event(step, "learning rate restarts" if self.cyclic else "learning rate falls")

    def rules(self) -> set[str]:
        return {"the learning rate"}

    def curves(self, step: int) -> dict[str, float]:
        return {"learning rate": self.rate(step)} if step >= self.window.start else {}

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.window.start <= step <= self.window.end:
            return
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rate(step)
        self.report_events(step, trainer, pl_module)
