"""The recipe clock: users speak in epochs, the code counts optimizer steps.

Step ``k`` is the moment after ``k`` optimizer steps, so 0 is before the first and ``total_steps`` after the
last; what is due at either end still happens.
"""

from dataclasses import dataclass


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

    def length(self, epochs: float) -> int:
        """So many epochs as a number of steps, at least one."""
        return max(1, round(epochs * self.steps_per_epoch))

    def window(self, start_epoch: float, end_epoch: float, update_frequency: float | None = None) -> "Window":
        """Steps between two epochs. A ``start_epoch`` of -1 is the first step, an ``end_epoch`` of -1 the last.

        Args:
            update_frequency: epochs between updates, at least one step; None means an update at both ends only.
        """
        start = self.step(max(start_epoch, 0.0))
        end = self.total_steps if end_epoch == -1 else self.step(end_epoch)
        interval = max(1, end - start) if update_frequency is None else self.length(update_frequency)
        return Window(start=start, end=end, interval=interval)


@dataclass(frozen=True)
class Window:
    """The steps in which a modifier acts: updates at ``start``, every ``interval`` steps, and at ``end``."""

    start: int
    end: int
    interval: int

    def contains(self, step: int) -> bool:
        return self.start <= step < self.end

    def is_update(self, step: int) -> bool:
        if not self.start <= step <= self.end:
            return False
        return step == self.end or (step - self.start) % self.interval == 0

    def updates(self) -> list[int]:
        """All steps with an update, in order."""
        return [*range(self.start, self.end, self.interval), self.end]

    def progress(self, step: int) -> float:
        """Fraction of the window done, in [0, 1]; a window without length is done at once."""
        if self.end == self.start:
            return 1.0
        return min(max((step - self.start) / (self.end - self.start), 0.0), 1.0)
