"""The base of all modifiers: a Lightning callback with typed settings and an epoch window on the recipe clock."""

import dataclasses
import importlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, cast

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from typing_extensions import TypeVar

from winnow.config.modifiers import CustomModifierSettings, ModifierSettings, WindowSettings
from winnow.config.recipe import Recipe, outside_training
from winnow.errors import UserError
from winnow.functional.mask import count_zeros
from winnow.modifiers.clock import Clock, Window
from winnow.modifiers.conflicts import refuse_conflicts
from winnow.modifiers.loss_adjustment import adjust_training_step, is_adjusted, restore_training_step
from winnow.tasks.objective import ModelObjective, Objective
from winnow.tasks.task import Task

S = TypeVar("S", bound=ModifierSettings, default=Any)


@dataclass(frozen=True)
class Event:
    """What a modifier does at one step.

    Args:
        step: number of optimizer steps before it.
        change: in a few words.
        sparsity: fraction of zeros afterwards over all matrices of the modifier; None if it prunes nothing.
    """

    step: int
    change: str
    sparsity: float | None = None


class Modifier(pl.Callback, Generic[S]):
    """A change to training that a recipe names; it works in any LightningModule and Trainer.

    A subclass names its `Settings` and overrides what it needs of: ``match`` (find the parameters to act on, change
    the model's structure), ``events`` and ``curves`` (the plan), ``at_step`` (act before the first and after each
    optimizer step), ``adjust_loss``, ``is_settled``, ``check_model``, ``facts``, ``own_state`` and
    ``load_own_state``. This class records the planned events as they happen, keeps them in checkpoints, and
    ``check`` compares them with the plan.

    Args:
        name: key in the recipe; distinguishes two modifiers of one class in checkpoints and logs. By default the
            name of the class.
        settings: as `Settings` defines them.

    Raises:
        UserError: for settings that `Settings` refuses.
    """

    Settings: ClassVar[type[ModifierSettings]] = WindowSettings
    order: ClassVar[int] = 0  # modifiers act in ascending order, whatever the order in the recipe

    def __init__(self, *, name: str | None = None, **settings: Any) -> None:
        self.name = name or type(self).__name__
        self.settings = cast(S, self.Settings.read(settings, self.name))
        self.recorded: list[dict[str, Any]] = []  # rows of `event_row`, in the order in which the events happened
        self.window: Window
        self.clock: Clock
        self._last_step = 0
        self._due: dict[int, list[Event]] = {}
        self._initial_zeros: int | None = None  # of the matched parameters, before the first pruning

    @property
    def state_key(self) -> str:
        return f"{type(self).__qualname__}.{self.name}"

    @property
    def sparsity(self) -> float | None:
        """The last recorded sparsity; None before the first."""
        return next((row["sparsity"] for row in reversed(self.recorded) if row["sparsity"] is not None), None)

    # The plan: what happens at which step.

    def match(self, model: nn.Module) -> None:
        """Find what to act on, change the model's structure, refuse a model that lacks a named part.

        Called before a teacher is trained and again before the training; for a plan, with a model without weights
        (on torch's meta device).
        """

    def begin(self, clock: Clock) -> None:
        """Turn epochs into steps."""
        self.clock = clock
        self.window = clock.window(*self.settings.window())

    def matched(self) -> dict[str, nn.Parameter]:
        """The parameters it acts on, by full name; known after ``match``."""
        return {}

    def exclusive_targets(self) -> set[str]:
        """What no other modifier may control within its window: the zeros of a parameter, the learning rate."""
        return set()

    def events(self) -> Iterator[Event]:
        """What it will do, in order of steps; known after ``match`` and ``begin``."""
        yield from ()

    def curves(self, step: int) -> dict[str, float]:
        """The value of each quantity that it sets, by name, after ``step`` optimizer steps."""
        return {}

    def cost(self) -> str:
        """What each update takes, for a plan, known after ``match``; '' for next to nothing."""
        return ""

    # The training, in the order in which Lightning calls it.

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        _refuse_order(modifiers_of(trainer))
        self.match(model_of(pl_module))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begin(trainer_clock(trainer))
        self._refuse_outside_training()
        if self is modifiers_of(trainer)[-1]:
            refuse_conflicts(modifiers_of(trainer))
        if self.adjusts_loss and not runs_modifiers(pl_module) and not is_adjusted(pl_module):
            adjust_training_step(pl_module, model_of(pl_module), lambda: [m.adjust_loss for m in modifiers_of(trainer)])
        self._due = {}
        for event in self.events():
            self._due.setdefault(event.step, []).append(event)
        self._last_step = trainer.global_step
        if trainer.global_step == 0:
            self._act(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        # Called after every micro-batch; under accumulation only the last of them has changed the weights.
        if trainer.global_step != self._last_step:
            self._last_step = trainer.global_step
            self._act(trainer, pl_module)
        if self.sparsity is not None:
            pl_module.log(f"{self.name}/sparsity", self.sparsity, prog_bar=True, logger=False, batch_size=1)

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, int] | None:
        """Act after ``step`` optimizer steps; ``step`` runs from 0 to the last step of the run.

        Returns:
            From a modifier that has pruned at this step, the number of zeros of each parameter in ``matched``; else
            None. Without it the zeros of a planned pruning are counted in the weights.
        """
        return None

    def adjust_loss(self, loss: Tensor, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss to train on, from the loss so far and the student's outputs.

        Lightning has no hook for it, so by default the result of ``training_step`` is adjusted, with the inputs and
        outputs of the last forward pass of ``model_of`` in it. A LightningModule with ``runs_modifiers = True`` does it
        itself, and calls ``finish`` or ``check`` after the training::

            for modifier in modifiers_of(self.trainer):
                loss = modifier.adjust_loss(loss, outputs, batch)
        """
        return loss

    @property
    def adjusts_loss(self) -> bool:
        return type(self).adjust_loss is not Modifier.adjust_loss

    def fault(self, batch: Mapping[str, Tensor]) -> str:
        """Why the loss of a batch is not finite, with a remedy, if the modifier is the cause; '' otherwise."""
        return ""

    def is_settled(self, step: int) -> bool:
        """True once the model is in the state that the recipe promises; only then may a model be the best."""
        return True

    def without_training(self, model: nn.Module, task: Task, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Act on a model in evaluation mode, in a recipe of 0 epochs, with batches of training examples."""

    def calibrate(self, model: nn.Module, task: Task, batches: Iterable[Mapping[str, Tensor]]) -> None:
        """Act ``without_training`` and record the planned events."""
        self.without_training(model, task, batches)
        self.recorded += [event_row(self, event, None) for event in self.events()]

    # After the training.

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not runs_modifiers(pl_module):
            restore_training_step(pl_module)
            self.finish()

    def finish(self) -> None:
        """``check`` a training that was not stopped early; warn of one that was stopped too early.

        Raises:
            RuntimeError: as ``check``.
        """
        if self._last_step == self.clock.total_steps:
            self.check()
        elif not self.is_settled(self._last_step):
            rank_zero_warn(
                f"{self.name}: training ended at step {self._last_step:,} of {self.clock.total_steps:,}, before the "
                "modifier had finished; the model is not what was asked for."
            )

    def check(self) -> None:
        """Compare what happened with the plan, and the model with the recipe's promise; called after the training.

        Raises:
            RuntimeError: with the step and both values, for the first difference.
        """
        self._check_events()
        if not self.is_settled(self._last_step):
            raise RuntimeError(
                f"{self.name}: training ended at step {self._last_step:,}, before the modifier had finished"
            )
        self.check_model()

    def check_model(self) -> None:
        """Raise RuntimeError if the model is not what the recipe promised."""

    def structure_changed(self, model: nn.Module) -> None:
        """Find anew what to act on, once another modifier has removed parts of the model in training."""

    def facts(self) -> dict[str, Any]:
        """Entries for the results table, e.g. ``{"pruned": True}``."""
        return {}

    def files(self) -> dict[str, Any]:
        """Further files of the run: name -> plain values, written as JSON."""
        return {}

    # Checkpoints.

    def state_dict(self) -> dict[str, Any]:
        return {"events": self.recorded, "initial_zeros": self._initial_zeros, "own": self.own_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.recorded = list(state_dict["events"])
        self._initial_zeros = state_dict["initial_zeros"]
        self.load_own_state(state_dict["own"])

    def own_state(self) -> dict[str, Any]:
        """What a subclass needs to resume: plain values and tensors."""
        return {}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Restore what ``own_state`` returned."""

    # Recording.

    def _refuse_outside_training(self) -> None:
        epochs = self.clock.epoch(self.clock.total_steps)
        for boundary, epoch in self.settings.boundaries().items():
            if epoch > epochs + 1e-6:
                raise UserError(
                    f"{self.name}: {boundary} is {epoch:g}, but the training ends after {epochs:g} epochs; train "
                    f"longer, or lower {boundary}."
                )

    def _act(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step
        due = self._due.get(step, [])
        prunes = any(event.sparsity is not None for event in due)
        if prunes and self._initial_zeros is None:
            self._initial_zeros = sum(self._count_zeros().values())
        zeros = self.at_step(step, trainer, pl_module)
        if zeros is None and prunes:
            zeros = self._count_zeros()
        if zeros is not None and not due:
            due = [Event(step, "prunes")]  # not planned: ``check`` refuses it
        sparsity = None if zeros is None else sum(zeros.values()) / self._size()
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.recorded += [event_row(self, dataclasses.replace(event, sparsity=sparsity), rate) for event in due]
        if zeros is not None:
            matched = self.matched()
            by_matrix = {f"sparsity/{name}": count / matched[name].numel() for name, count in zeros.items()}
            for logger in trainer.loggers:
                logger.log_metrics({f"{self.name}/sparsity": cast(float, sparsity), **by_matrix}, step=step)

    def _count_zeros(self) -> dict[str, int]:
        return {name: count_zeros(parameter) for name, parameter in self.matched().items()}

    def _size(self) -> int:
        return sum(parameter.numel() for parameter in self.matched().values())

    def _check_events(self) -> None:
        planned = {(event.step, event.change): event for event in self.events() if event.step <= self._last_step}
        happened = {(row["step"], row["change"]): row for row in self.recorded}
        for step, change in sorted({*planned, *happened}):
            if (step, change) not in happened:
                raise RuntimeError(f"{self.name}: step {step:,}: planned '{change}', but it did not happen")
            measured = happened[step, change]["sparsity"]
            if (step, change) not in planned:
                sparsity = "" if measured is None else f" to a sparsity of {measured:.4f}"
                raise RuntimeError(f"{self.name}: step {step:,}: planned nothing, but '{change}' happened{sparsity}")
            due = planned[step, change].sparsity
            if due is not None and not self._is_within_rounding(measured, due):
                raise RuntimeError(
                    f"{self.name}: step {step:,}: planned '{change}' to a sparsity of {due:.4f}, but measured "
                    f"{measured:.4f}"
                )

    def _is_within_rounding(self, measured: float, planned: float) -> bool:
        """True if the zeros differ by at most one of each matrix, or are more because the model came with zeros."""
        size, rounding = self._size(), len(self.matched())
        return -rounding <= (measured - planned) * size <= rounding + (self._initial_zeros or 0)


def model_of(pl_module: pl.LightningModule) -> nn.Module:
    """The module that modifiers act on: the attribute ``model`` if it is a module, else the LightningModule."""
    model = getattr(pl_module, "model", None)
    return model if isinstance(model, nn.Module) else pl_module


def objective_of(pl_module: pl.LightningModule) -> Objective:
    """The attribute ``task`` if it can compute losses, else what the model itself returns."""
    task: Any = getattr(pl_module, "task", None)
    return task if hasattr(task, "distillation_loss") else ModelObjective(model_of(pl_module))


def runs_modifiers(pl_module: pl.LightningModule) -> bool:
    """True for a LightningModule that calls ``adjust_loss`` and ``check`` or ``finish`` of the modifiers itself."""
    return getattr(pl_module, "runs_modifiers", False)


def modifiers_of(trainer: pl.Trainer) -> list[Modifier]:
    """The modifiers among the callbacks of a trainer, in the order in which they act."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set outside Trainer.__init__
    return [callback for callback in callbacks if isinstance(callback, Modifier)]


def _refuse_order(modifiers: Sequence[Modifier]) -> None:
    for first, second in itertools.pairwise(modifiers):
        if first.order > second.order:
            raise UserError(f"callbacks: {second.name} acts first; put it before {first.name}.")


def trainer_clock(trainer: pl.Trainer) -> Clock:
    """The clock of a training, from the optimizer steps that Lightning will really take.

    A training whose ``max_steps`` ends it before ``max_epochs`` has as many, shorter epochs.

    Raises:
        UserError: for a training without an end, or of batches without a number and by ``max_steps`` alone.
    """
    total, epochs = trainer.estimated_stepping_batches, trainer.max_epochs or 1
    if not 0 < total < math.inf:
        raise UserError("a recipe needs a training with an end: give the Trainer max_epochs or max_steps.")
    if epochs > 0:
        return Clock(steps_per_epoch=total / epochs, total_steps=int(total))
    batches = trainer.num_training_batches
    if math.isinf(batches):
        raise UserError("a recipe counts in epochs, but the training data have no length; give the Trainer max_epochs.")
    return Clock(steps_per_epoch=-(-batches // trainer.accumulate_grad_batches), total_steps=int(total))


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


def recorded_events(modifiers: Sequence[Modifier]) -> list[dict[str, Any]]:
    """The recorded events of all modifiers in the order in which they happened.

    Args:
        modifiers: in the order in which they act.
    """
    return sorted((row for modifier in modifiers for row in modifier.recorded), key=lambda row: row["step"])


def build_modifiers(recipe: Recipe, teacher: Any = None) -> list[Modifier]:
    """The modifiers of a recipe, in the order in which they act.

    Args:
        teacher: for the modifiers that need one; None for a plan.

    Raises:
        UserError: for a ``_target_`` that is not a modifier, and for settings that its ``Settings`` refuses.
    """
    modifiers = []
    for name, settings in recipe.modifiers.items():
        kind = _modifier_class(recipe.targets[name], f"recipe.{name}._target_")
        if isinstance(settings, CustomModifierSettings):
            settings = kind.Settings.read(dict(settings), f"recipe.{name}")
            if problem := outside_training("recipe", name, settings, recipe.num_epochs):
                raise UserError(problem)
        given = {**dict(settings), **({"teacher": teacher} if settings.needs_teacher else {})}
        modifiers.append(kind(name=name, **given))
    return sorted(modifiers, key=lambda modifier: (modifier.order, modifier.settings.window()[0]))


def _modifier_class(target: str, path: str) -> type[Modifier]:
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # importing a user's module may fail in any way
        raise UserError(f"{path}: {target} cannot be imported ({error}).") from error
    if not (isinstance(found, type) and issubclass(found, Modifier)):
        raise UserError(f"{path}: {target} is not a subclass of winnow.modifiers.modifier.Modifier.")
    return found
