"""Knowledge distillation: the student learns from a teacher's outputs."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from torch import Tensor

from winnow.functional.distillation_loss import mix_losses
from winnow.modifiers.modifier import Event, Modifier
from winnow.ranges import check_range

if TYPE_CHECKING:
    from winnow.models.teacher import Teacher


class Distillation(Modifier):
    """loss = (1 - hardness) * task loss + hardness * distance to the teacher's outputs (Hinton et al. 2015).

    Args:
        teacher: a module that takes the student's batches; kept out of checkpoints and the optimizer.
        hardness: weight of the teacher in [0, 1].
        temperature: softens both distributions, above 0; a regression has none.
        start_from_teacher: the student begins with the teacher's weights; where their shapes differ it
            begins with its own, and says so.
    """

    order = 100  # mixes what the others have made of the task's loss

    def __init__(
        self,
        *,
        teacher: "Teacher",
        hardness: float,
        temperature: float,
        start_from_teacher: bool = False,
        **window: Any,
    ) -> None:
        super().__init__(**window)
        check_range("hardness", hardness)
        check_range("temperature", temperature)
        self.hardness = hardness
        self.temperature = temperature
        self.start_from_teacher = start_from_teacher
        self._teacher = [teacher]  # in a list, so that no module registers it

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.start_from_teacher and not self._teacher[0].give_weights_to(pl_module.model):
            print("note: the teacher has other shapes or labels than the student, which starts from its own weights.")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.task = pl_module.task
        self._teacher[0].to(pl_module.device).eval()

    def rules(self) -> set[str]:
        return {"the weight of the teacher"}

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, "learns from the teacher")
        if self.window.end < self.clock.total_steps:
            yield Event(self.window.end, "learns from the labels alone")

    def curves(self, step: int) -> dict[str, float]:
        distils = self.window.contains(min(step, self.clock.total_steps - 1))
        hardness = self.hardness if distils else 0.0
        return {"weight of the teacher": hardness, "weight of the labels": 1.0 - hardness}

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.report_events(step, trainer, pl_module)

    def adjust_loss(self, loss: Tensor, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        if not self.window.contains(self._last_step):
            return loss
        target = self._teacher[0].outputs(self.task, batch)
        distance = self.task.distillation_loss(outputs, target, batch, temperature=self.temperature)
        return mix_losses(loss, distance, hardness=self.hardness)

    def facts(self) -> dict[str, Any]:
        return {"distilled": True, "teacher_outputs": "live" if self._teacher[0].stored is None else "stored"}
