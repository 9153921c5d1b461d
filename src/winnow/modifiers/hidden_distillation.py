"""Distillation of hidden states: the student's layers learn from the teacher's."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from winnow.config.modifiers import HiddenDistillationSettings
from winnow.errors import UserError
from winnow.functional.distillation_loss import evenly_mapped, hidden_state_loss
from winnow.models.encoder_layers import kept_layers, layer_list
from winnow.models.gradient_checkpointing import is_second_pass
from winnow.models.teacher import Teacher, as_teacher
from winnow.modifiers.modifier import Event, Modifier, model_of, objective_of


class HiddenDistillation(Modifier[HiddenDistillationSettings]):
    """Add weight * mean over pairs of layers of the squared distance of their hidden states.

    (Jiao et al. 2020, arXiv:1909.10351, eq. 8; Sun et al. 2019, arXiv:1908.09355.) Padding does not count. If the
    widths differ, one linear projection of the student's states is learnt, for training only. With ``layers: auto``
    each layer of the student learns from the layer that it was before others were dropped, if the teacher still has
    all of them; else from evenly spread layers.

    Args:
        teacher: as in `winnow.modifiers.distillation.Distillation`; both are models of transformers.
    """

    Settings = HiddenDistillationSettings
    order = 101  # adds to the mixture of the task's loss and the teacher's

    def __init__(self, *, teacher: nn.Module | None = None, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self._teacher = as_teacher(teacher)
        if self._teacher is not None:
            self._teacher.shows_states = True
        self._projection: nn.Module = nn.Identity()
        self._hooks: list[Any] = []
        self._states: dict[tuple[str, int], Tensor] = {}  # of the current batch

    @property
    def teacher(self) -> Teacher:
        assert self._teacher is not None, "a plan has no teacher"
        return self._teacher

    def match(self, model: nn.Module) -> None:
        student = layer_list(model)[1]
        teacher = layer_list(self._teacher.model, "the teacher")[1] if self._teacher else None
        if isinstance(self.settings.layers, dict):
            self._require_layers("student", student, self.settings.layers)
            self._require_layers("teacher", teacher, self.settings.layers.values())
            self.pairs = dict(self.settings.layers)
        elif teacher is not None:
            kept, count = kept_layers(model)
            self.pairs = dict(enumerate(kept)) if len(teacher) == count else evenly_mapped(len(student), len(teacher))

    def _require_layers(self, owner: str, layers: nn.ModuleList | None, numbers: Iterable[int]) -> None:
        for number in numbers:
            if layers is not None and number >= len(layers):
                raise UserError(
                    f"{self.name}.layers: the {owner} has no layer {number}; it has layers 0 to {len(layers) - 1}."
                )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self.teacher.refuse_student(model_of(pl_module), self.name)
        student: Any = model_of(pl_module)
        teacher = self.teacher.model
        width, teacher_width = student.config.hidden_size, teacher.config.hidden_size
        if width != teacher_width:
            self._projection = nn.Linear(width, teacher_width, bias=False)
            pl_module.add_module(f"{self.name}_projection", self._projection)  # in optimizer and checkpoint
        for student_layer, teacher_layer in self.pairs.items():
            self._hooks += [
                layer_list(student)[1][student_layer].register_forward_hook(self._keep("student", student_layer)),
                layer_list(teacher)[1][teacher_layer].register_forward_hook(self._keep("teacher", teacher_layer)),
            ]

    def _keep(self, owner: str, number: int) -> Callable[..., None]:
        """A hook that keeps the hidden states that a layer returns."""

        def hook(layer: nn.Module, inputs: Any, output: Tensor | tuple[Tensor, ...]) -> None:
            seen = owner == "teacher" or (layer.training and not is_second_pass())
            if seen and self.window.contains(self._last_step):
                self._states[owner, number] = output[0] if isinstance(output, tuple) else output

        return hook

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.task = objective_of(pl_module)
        self.teacher.to(pl_module.device).eval()

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, "learns from the teacher's hidden states")
        if self.window.end < self.clock.total_steps:
            yield Event(self.window.end, "no longer learns from the hidden states")

    def curves(self, step: int) -> dict[str, float]:
        distils = self.window.contains(min(step, self.clock.total_steps - 1))
        return {"weight of the hidden states": self.settings.weight if distils else 0.0}

    def adjust_loss(self, loss: Tensor, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        project = self._projection
        if not self.window.contains(self._last_step):
            # data-parallel processes wait for the gradient of every parameter
            return loss + 0.0 * sum(weight.sum() for weight in project.parameters())
        self.teacher.outputs(self.task, batch)
        mask = batch.get("attention_mask")
        losses = [
            hidden_state_loss(project(self._states["student", student]), self._states["teacher", teacher], mask)
            for student, teacher in self.pairs.items()
        ]
        self._states.clear()
        return loss + self.settings.weight * torch.stack(losses).mean()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for hook in self._hooks:
            hook.remove()

    def fault(self, batch: Mapping[str, Tensor]) -> str:
        return self.teacher.fault(self.task, batch) if self.window.contains(self._last_step) else ""

    def facts(self) -> dict[str, Any]:
        return {"distilled": True}
