"""The learning rate over the steps of a run: constant, falling, in cycles, in steps; with a warm-up."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl

from src.errors import UserError
from src.functional import learning_rate as rates
from src.modifiers.base import Event, Modifier
from src.ranges import check_range


class LearningRate(Modifier):
    """Set the rate of all parameters before each optimizer step of a window; after it the last rate stays.

    A linear or cosine fall begins when the warm-up is over, and would reach the final rate at the end of the
    window. Several of these may follow one another.

    Args:
        schedule: constant, linear, cosine, cyclic_linear, cyclic_cosine (restarts every ``cycle_epochs``) or step
            (times ``gamma`` every ``step_epochs``).
        initial_learning_rate: at the start, above 0 but for a warm-up.
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

    def rate(self, step: int) -> float:
        """The rate of the optimizer step that follows ``step`` others; outside the window the nearest one in it."""
        length = self.window.end - self.window.start
        warmup = round(length * self.warmup)
        done = min(max(step - self.window.start, 0), length)
        return rates.warmed_up(done, warmup) * self._after_warmup(max(0, done - warmup), length - warmup)

    def _after_warmup(self, done: int, length: int) -> float:
        if self.schedule == "constant":
            return self.initial
        if self.schedule == "step":
            return rates.stepped(min(done, length - 1), initial=self.initial, gamma=self.gamma, every=self._interval)
        progress = rates.cycle_progress(min(done, length - 1), self._interval) if self.cyclic else done / max(1, length)
        curve = rates.cosine if self.schedule.endswith("cosine") else rates.linear
        return curve(progress, initial=self.initial, final=self.final)

    @property
    def _interval(self) -> int:
        """Steps of a cycle, or between two falls."""
        epochs = self.cycle_epochs if self.cyclic else self.step_epochs
        assert epochs is not None
        return self.clock.length(epochs)

    def events(self) -> Iterator[Event]:
        start, end = self.window.start, self.window.end
        begin = start + round((end - start) * self.warmup)
        if begin > start:
            yield Event(start, "learning rate rises")
        yield Event(begin, "learning rate: " + self.schedule.replace("_", " "))
        if self.cyclic or self.schedule == "step":
            for step in range(begin + self._interval, end, self._interval):
                yield Event(step, "learning rate restarts" if self.cyclic else "learning rate falls")

    def curves(self, step: int) -> dict[str, float]:
        return {"learning rate": self.rate(step)} if step >= self.window.start else {}

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.window.start <= step <= self.window.end:
            return
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rate(step)
        for event in self.events():
            if event.step == step:
                self.report(trainer, pl_module, event.change)
