"""Knowledge distillation: the student learns from a teacher's outputs."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from winnow.config.modifiers import DistillationSettings
from winnow.functional.distillation_loss import mix_losses
from winnow.models.teacher import Teacher, as_teacher
from winnow.modifiers.modifier import Event, Modifier, model_of, objective_of


class Distillation(Modifier[DistillationSettings]):
    """loss = (1 - hardness) * task loss + hardness * distance to the teacher's outputs (Hinton et al. 2015).

    With ``start_from_teacher`` the student begins with the teacher's weights; if their shapes or labels differ, it
    prints a note and begins with the student's weights.

    Args:
        teacher: a model that takes the student's inputs and gives the same outputs in the same order; it is frozen, and
            kept out of checkpoints and the optimizer. Modifiers with one `winnow.models.teacher.Teacher` share its
            forward pass. None for a plan.
    """

    Settings = DistillationSettings
    order = 100  # mixes the task's loss as the other modifiers have adjusted it

    def __init__(self, *, teacher: nn.Module | None = None, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self._teacher = as_teacher(teacher)

    @property
    def teacher(self) -> Teacher:
        assert self._teacher is not None, "a plan has no teacher"
        return self._teacher

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self.teacher.refuse_student(model_of(pl_module), self.name)
        if self.settings.start_from_teacher and not self.teacher.give_weights_to(model_of(pl_module)):
            print(
                "note: the teacher's shapes or labels differ from the student's, so the student starts from its own "
                "weights."
            )

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.task = objective_of(pl_module)
        self.teacher.to(pl_module.device).eval()

    def exclusive_targets(self) -> set[str]:
        return {"the weight of the teacher"}

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, "learns from the teacher")
        if self.window.end < self.clock.total_steps:
            yield Event(self.window.end, "learns from the labels alone")

    def curves(self, step: int) -> dict[str, float]:
        distils = self.window.contains(min(step, self.clock.total_steps - 1))
        hardness = self.settings.hardness if distils else 0.0
        return {"weight of the teacher": hardness, "weight of the labels": 1.0 - hardness}

    def adjust_loss(self, loss: Tensor, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        if not self.window.contains(self._last_step):
            return loss
        target = self.teacher.outputs(self.task, batch)
        distance = self.task.distillation_loss(outputs, target, batch, temperature=self.settings.temperature)
        return mix_losses(loss, distance, hardness=self.settings.hardness)

    def fault(self, batch: Mapping[str, Tensor]) -> str:
        return self.teacher.fault(self.task, batch) if self.window.contains(self._last_step) else ""

    def facts(self) -> dict[str, Any]:
        return {"distilled": True, "teacher_outputs": "live" if self.teacher.stored is None else "stored"}
