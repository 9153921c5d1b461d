"""What every modifier is: a Lightning callback with an epoch window on the recipe clock."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import hydra
import pytorch_lightning as pl
from torch import Tensor, nn

from winnow.modifiers.clock import Clock, Window
from winnow.ranges import check_range


@dataclass(frozen=True)
class Event:
    """What a modifier does at one step.

    Args:
        step: the moment after so many optimizer steps.
        change: in a few words.
        sparsity: fraction of weights held at zero afterwards in the matrices of the modifier; None if it prunes
            nothing.
    """

    step: int
    change: str
    sparsity: float | None = None


class Modifier(pl.Callback):
    """A change to training that a recipe names.

    A subclass overrides what it needs of: ``match`` (find the parameters to act on, change the model's structure),
    ``at_step`` (act once after each optimizer step, and once before the first), ``adjust_loss``, ``is_settled``,
    ``check``, ``facts`` and the two state hooks, whose values are plain or tensors. ``events`` and ``curves`` say
    beforehand what it will do, from the same window and the same formulas that it acts by.

    Args:
        name: its key in the recipe; tells two modifiers of one class apart in checkpoints and logs.
        start_epoch: first epoch in which it acts, fractions allowed; -1 means from the first step.
        end_epoch: the epoch in which it has finished; -1 means the end of training.
        update_frequency: epochs between updates; None means at both ends only.
    """

    order = 0  # modifiers act in ascending order, whatever the order in the recipe

    def __init__(
        self, *, name: str, start_epoch: float = 0.0, end_epoch: float = -1, update_frequency: float | None = None
    ) -> None:
        self.name = name
        check_range("start_epoch", start_epoch)
        check_range("end_epoch", end_epoch)
        if update_frequency is not None:
            check_range("update_frequency", update_frequency)
        self.start_epoch = start_epoch
        self._epochs = (start_epoch, end_epoch, update_frequency)
        self.window: Window
        self.clock: Clock
        self._last_step = 0

    @property
    def state_key(self) -> str:
        return f"{type(self).__qualname__}.{self.name}"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.match(pl_module.model)

    def match(self, model: nn.Module) -> None:
        """Find what to act on, change the model's structure, refuse a model that lacks what is named.

        Called before a teacher is trained and again before the training, and for a plan with a model without
        weights (on torch's meta device).
        """

    def begin(self, clock: Clock) -> None:
        """Turn epochs into steps."""
        self.clock = clock
        self.window = clock.window(*self._epochs)

    def matched(self) -> dict[str, nn.Parameter]:
        """The parameters it acts on, by full name; known after ``match``."""
        return {}

    def rules(self) -> set[str]:
        """What no other modifier may rule within its window: names of parameters it prunes, or of a setting."""
        return set()

    def events(self) -> Iterator[Event]:
        """What it will do, in order of steps; known after ``match`` and ``begin``. A run reports the same."""
        yield from ()

    def curves(self, step: int) -> dict[str, float]:
        """The value of each quantity that it sets, by name, as it stands after ``step``."""
        return {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begin(trainer_clock(trainer))
        self._last_step = trainer.global_step
        if trainer.global_step == 0:
            self.at_step(0, trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        # Fires for every micro-batch; under accumulation only the last of them has moved the weights.
        if trainer.global_step != self._last_step:
            self._last_step = trainer.global_step
            self.at_step(trainer.global_step, trainer, pl_module)

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Act at the moment after ``step`` optimizer steps; ``step`` runs from 0 to the last step of the run."""

    def without_training(self, model: nn.Module, task: Any, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Act on a model in evaluation mode, in a recipe of 0 epochs, by batches of training examples."""

    def adjust_loss(self, loss: Tensor, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss to train on, given the loss so far and the student's outputs; called in ``training_step``."""
        return loss

    def is_settled(self, step: int) -> bool:
        """True once the model is in the state that the recipe promises; only then may a model be the best."""
        return True

    def check(self) -> None:
        """Raise if the model is not what the recipe promised; called when training ends."""

    def report(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, change: str, zeros: Mapping[str, int] | None = None
    ) -> None:
        """Record an event that has just happened.

        Args:
            zeros: as counted, of each parameter in `matched`; the sparsities are logged, for each and for all, and
                the latter is shown in the progress bar.
        """
        sparsity = None
        if zeros is not None:
            sizes = {name: parameter.numel() for name, parameter in self.matched().items()}
            sparsity = sum(zeros.values()) / sum(sizes.values())
        event = Event(trainer.global_step, change, sparsity)
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        pl_module.events.append(event_row(self, event, learning_rate))
        if zeros is not None and sparsity is not None:
            pl_module.progress["sparsity"] = sparsity
            by_matrix = {f"sparsity/{name}": count / sizes[name] for name, count in zeros.items()}
            for logger in trainer.loggers:
                logger.log_metrics({f"{self.name}/sparsity": sparsity, **by_matrix}, step=event.step)

    def report_events(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record what ``events`` has for a step, for a modifier that does it without anything to measure."""
        for event in self.events():
            if event.step == step:
                self.report(trainer, pl_module, event.change)

    def facts(self) -> dict[str, Any]:
        """What the results table should say of it, e.g. ``{"pruned": True}``."""
        return {}


def trainer_clock(trainer: pl.Trainer) -> Clock:
    """The clock of a run, from the optimizer steps that Lightning will really take."""
    total = int(trainer.estimated_stepping_batches)
    return Clock(steps_per_epoch=total / (trainer.max_epochs or 1), total_steps=total)


def event_row(modifier: Modifier, event: Event, learning_rate: float | None) -> dict[str, Any]:
    """An event as a plan lists it and a run records it."""
    return {
        "step": event.step,
        "epoch": round(modifier.clock.epoch(event.step), 6),
        "modifier": modifier.name,
        "change": event.change,
        "sparsity": event.sparsity,
        "learning_rate": learning_rate,
    }


def build_modifiers(recipe: Mapping[str, Any], **context: Any) -> list[Modifier]:
    """The modifiers of a recipe, in the order in which they act.

    Args:
        recipe: the resolved recipe; each entry with a ``_target_`` is a modifier.
        context: objects made at run time, such as ``teacher``; each goes to the modifiers that have a
            setting of that name.
    """
    modifiers = []
    for name, node in recipe.items():
        if isinstance(node, Mapping) and "_target_" in node:
            given = {key: value for key, value in context.items() if key in node}
            modifiers.append(hydra.utils.instantiate(node, name=name, _convert_="all", **given))
    return sorted(modifiers, key=lambda modifier: (modifier.order, modifier.start_epoch))
