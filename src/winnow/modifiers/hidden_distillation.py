"""Distillation of hidden states: the student's layers learn from the teacher's."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from winnow.errors import UserError
from winnow.functional.distillation_loss import evenly_mapped, hidden_state_loss
from winnow.models.encoder_layers import kept_layers, layer_list
from winnow.modifiers.modifier import Event, Modifier
from winnow.ranges import check_range

if TYPE_CHECKING:
    from winnow.models.teacher import Teacher


class HiddenDistillation(Modifier):
    """Add weight * mean over pairs of layers of the squared distance of their hidden states.

    (Jiao et al. 2020, arXiv:1909.10351, eq. 8; Sun et al. 2019, arXiv:1908.09355.) Padding does not count. Where
    the widths differ, one linear projection of the student's states is learnt, for training alone.

    Args:
        teacher: a module that takes the student's batches; kept out of checkpoints and the optimizer.
        weight: of this part of the loss, above 0.
        layers: ``auto``: each layer learns from the one it was before layers were dropped, else from one of as many
            evenly spread layers; or a mapping from the layers that the student has left to layers of the teacher,
            counted from 0.
    """

    order = 101  # adds to what is left of the task's loss once it is mixed with the teacher's

    def __init__(
        self, *, teacher: "Teacher", weight: float, layers: str | Mapping[int, int] = "auto", **window: Any
    ) -> None:
        super().__init__(**window)
        check_range("weight", weight)
        if not (isinstance(layers, Mapping) and layers):
            check_range("layers", layers)
        self.weight = weight
        self.layers = layers
        self._teacher = teacher
        if teacher is not None:  # a rehearsal has none
            teacher.shows_states = True
        self._projection: nn.Module = nn.Identity()
        self._hooks: list[Any] = []
        self._states: dict[tuple[str, int], Tensor] = {}  # of the batch at hand

    def match(self, model: nn.Module) -> None:
        student = layer_list(model)[1]
        teacher = layer_list(self._teacher.model, "the teacher")[1] if self._teacher else None
        if isinstance(self.layers, Mapping):
            for number, of, called in (
                *((i, student, "student") for i in self.layers),
                *((i, teacher, "teacher") for i in self.layers.values()),
            ):
                if of is not None and (not isinstance(number, int) or not 0 <= number < len(of)):
                    raise UserError(
                        f"{self.name}.layers: the {called} has layers 0 to {len(of) - 1}, and none called {number}."
                    )
            self.pairs = dict(self.layers)
        elif teacher is not None:
            kept, count = kept_layers(model)
            self.pairs = dict(enumerate(kept)) if len(teacher) == count else evenly_mapped(len(student), len(teacher))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        teacher = self._teacher.model
        widths = pl_module.model.config.hidden_size, teacher.config.hidden_size
        if widths[0] != widths[1]:
            self._projection = nn.Linear(*widths, bias=False)
            pl_module.add_module(f"{self.name}_projection", self._projection)  # in optimizer and checkpoint
        for mine, theirs in self.pairs.items():
            self._hooks += [
                layer_list(pl_module.model)[1][mine].register_forward_hook(self._remember("student", mine)),
                layer_list(teacher)[1][theirs].register_forward_hook(self._remember("teacher", theirs)),
            ]

    def _remember(self, whose: str, number: int) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, output: Tensor | tuple[Tensor, ...]) -> None:
            if (layer.training or whose == "teacher") and self.window.contains(self._last_step):
                self._states[whose, number] = output[0] if isinstance(output, tuple) else output

        return hook

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.task = pl_module.task
        self._teacher.to(pl_module.device).eval()

    def events(self) -> Iterator[Event]:
        yield Event(self.window.start, "learns from the teacher's hidden states")
        if self.window.end < self.clock.total_steps:
            yield Event(self.window.end, "no longer learns from the hidden states")

    def curves(self, step: int) -> dict[str, float]:
        distils = self.window.contains(min(step, self.clock.total_steps - 1))
        return {"weight of the hidden states": self.weight if distils else 0.0}

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.report_events(step, trainer, pl_module)

    def adjust_loss(self, loss: Tensor, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        project = self._projection
        if not self.window.contains(self._last_step):
            # data parallel processes wait for the gradient of every parameter
            return loss + 0.0 * sum(weight.sum() for weight in project.parameters())
        self._teacher.outputs(self.task, batch)
        mask = batch["attention_mask"]
        losses = [
            hidden_state_loss(project(self._states["student", mine]), self._states["teacher", theirs], mask)
            for mine, theirs in self.pairs.items()
        ]
        self._states.clear()
        return loss + self.weight * torch.stack(losses).mean()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for hook in self._hooks:
            hook.remove()

    def facts(self) -> dict[str, Any]:
        return {"distilled": True}
