"""The recipe clock: users speak in epochs, the code counts optimizer steps.

Step ``k`` is the moment after ``k`` optimizer steps, so 0 is before the first and ``total_steps`` after the
last; what is due at either end still happens.
"""

from dataclasses import dataclass

from winnow.config.trainer import Trainer
from winnow.errors import UserError


@dataclass(frozen=True)
class Clock:
    """Epochs to integer optimizer steps, from the trainer's real number of steps.

    Args:
        steps_per_epoch: optimizer steps in an epoch of the recipe, after accumulation and data parallelism; a
            fraction only where a recipe is scaled to a given number of steps.
        total_steps: optimizer steps of the whole run.
    """

    steps_per_epoch: float
    total_steps: int

    def step(self, epoch: float) -> int:
        """The step at ``epoch`` (fractions allowed), never past the end of the run."""
        return min(round(epoch * self.steps_per_epoch), self.total_steps)

    def epoch(self, step: int) -> float:
        return step / self.steps_per_epoch

    def length(self, epochs: float) -> float:
        """A length in epochs in steps, at least one; not rounded, so that recurring updates do not drift."""
        return max(1.0, epochs * self.steps_per_epoch)

    def window(self, start_epoch: float, end_epoch: float, update_frequency: float | None = None) -> "Window":
        """Steps between two epochs. A ``start_epoch`` of -1 is the first step, an ``end_epoch`` of -1 the last.

        Args:
            update_frequency: epochs between updates, at least one step; None means an update at both ends only.
        """
        start = self.step(max(start_epoch, 0.0))
        end = self.total_steps if end_epoch == -1 else self.step(end_epoch)
        interval = max(1.0, end - start) if update_frequency is None else self.length(update_frequency)
        return Window(start=start, end=end, interval=interval)


@dataclass(frozen=True)
class Window:
    """The steps in which a modifier acts: updates at ``start``, every ``interval`` steps, and at ``end``.

    An interval may be a fraction; the n-th begins ``n * interval`` steps after the start, rounded to a whole step.
    """

    start: int
    end: int
    interval: float

    def contains(self, step: int) -> bool:
        return self.start <= step < self.end

    def interval_around(self, step: int) -> tuple[int, int]:
        """The first step of the interval that contains ``step``, and the first step of the next interval."""
        n = int((step - self.start) / self.interval) + 1  # or one too many
        return next((self._nth(i), self._nth(i + 1)) for i in (n, n - 1) if self._nth(i) <= step)

    def _nth(self, n: int) -> int:
        return self.start + int(n * self.interval + 0.5)

    def is_update(self, step: int) -> bool:
        if not self.start <= step <= self.end:
            return False
        return step == self.end or step == self.interval_around(step)[0]

    def updates(self) -> list[int]:
        """All steps with an update, in order."""
        steps = (self._nth(n) for n in range(int((self.end - self.start) / self.interval) + 2))
        return [*(step for step in steps if step < self.end), self.end]

    def progress(self, step: int) -> float:
        """Fraction of the window done, in [0, 1]; 1 in a window without length."""
        if self.end == self.start:
            return 1.0
        return min(max((step - self.start) / (self.end - self.start), 0.0), 1.0)


def recipe_clock(batches: int, num_epochs: int, trainer: Trainer) -> Clock:
    """The clock of a run before it starts; it counts steps as Lightning will.

    Args:
        batches: of one epoch on one device.
        num_epochs: of the recipe.
        trainer: the ``trainer`` section.

    Raises:
        UserError: if ``trainer.max_steps`` ends the training before the recipe and ``trainer.scale_recipe`` is false.
    """
    limit = trainer.limit_train_batches
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if batches < 1:
        raise UserError(f"trainer.limit_train_batches={limit} leaves no batch in an epoch; raise it.")
    steps = -(-batches // trainer.accumulate_grad_batches)
    total, most = steps * num_epochs, trainer.max_steps
    if most is not None and most < total:
        if not trainer.scale_recipe:
            raise UserError(
                f"trainer.max_steps={most} ends before the recipe does: {num_epochs} epochs of {steps:,} steps are "
                f"{total:,}. Lower recipe.num_epochs, or run the whole recipe in {most} steps with "
                "trainer.scale_recipe=true."
            )
        total = most
    return Clock(steps_per_epoch=total / num_epochs if num_epochs else steps, total_steps=total)
