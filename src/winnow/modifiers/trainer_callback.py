"""Modifiers in a `transformers.Trainer`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from winnow.errors import UserError
from winnow.files.atomic import replaced_atomically
from winnow.modifiers.loss_adjustment import ForwardPass
from winnow.modifiers.modifier import Modifier

STATE = "modifiers.pt"  # in each checkpoint of the Trainer, beside its own files
_IGNORED = -100  # a label that does not count in a loss


class ModifierCallback(TrainerCallback):
    """Runs modifiers in a `transformers.Trainer`: ``Trainer(model, callbacks=[ModifierCallback(modifiers)])``.

    The loss that the model returns is adjusted, which is what ``Trainer.compute_loss`` uses; each checkpoint gets the
    state of the modifiers, so ``train(resume_from_checkpoint=True)`` goes on with them; the best model counts only from
    the step on at which all modifiers have done what they promise; after the last step the model is checked. A
    modifier of the learning rate replaces the Trainer's schedule.

    Args:
        modifiers: as `winnow.callbacks` returns them, or one's own, in any order.

    Raises:
        UserError: from the Trainer, for what cannot work: ``model_init``, ``label_smoothing_factor``, or a recipe that
            needs a `winnow train` of its own.
    """

    def __init__(self, modifiers: Sequence[Modifier]) -> None:
        self.modifiers = sorted(modifiers, key=lambda modifier: modifier.order)
        self._loop: _Loop | None = None
        self._hooks: list[Any] = []
        self._items: Any = None  # labels of the present step, over which the Trainer wants the mean

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._loop = _Loop(kwargs["model"], self.modifiers)
        for modifier in self.modifiers:
            modifier.setup(self._loop, self._loop, "fit")  # type: ignore[arg-type]  # the parts of both that it uses

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model = kwargs["model"]
        if self._loop is None or self._loop.model is not model:
            raise UserError("ModifierCallback: give the Trainer a model, not model_init, and this among its callbacks.")
        self._loop.begin(args, state, kwargs["optimizer"], kwargs["train_dataloader"])
        if state.global_step:
            self._restore(args, state)
        if any(modifier.adjusts_loss for modifier in self.modifiers):
            self._adjust_losses(model)
        self._call("on_fit_start")
        self._call("on_train_start")

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._call("on_train_batch_start", None, 0)

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self._call("on_before_optimizer_step", self._running.optimizers[0])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not self._is_settled(state.best_global_step or state.global_step):
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None
        self._call("on_train_batch_end", None, None, 0)
        self._call("on_validation_start")  # the Trainer says when an evaluation has ended, not when it begins

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._running.is_global_zero:
            modifiers = {modifier.state_key: modifier.state_dict() for modifier in self.modifiers}
            with replaced_atomically(_checkpoint(args, state) / STATE) as partial:
                torch.save(modifiers, partial)

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        for modifier in self.modifiers:
            modifier.finish()
        self._call("teardown", "fit")
        for hook in self._hooks:
            hook.remove()
        self._running.remove_added()

    @property
    def _running(self) -> "_Loop":
        assert self._loop is not None, "the Trainer has not begun"
        return self._loop

    def _call(self, hook: str, *args: Any) -> None:
        for modifier in self.modifiers:
            getattr(modifier, hook)(self._running, self._running, *args)

    def _is_settled(self, step: int) -> bool:
        return all(modifier.is_settled(step) for modifier in self.modifiers)

    def _restore(self, args: TrainingArguments, state: TrainerState) -> None:
        file = _checkpoint(args, state) / STATE
        if not file.is_file():
            raise UserError(
                f"{file} is missing, so the modifiers cannot go on from step {state.global_step:,}. Resume in the "
                "output_dir that the checkpoint was written to; if a kill left it unfinished, resume from "
                "the checkpoint before."
            )
        saved = torch.load(file, map_location="cpu", weights_only=True)
        for modifier in self.modifiers:
            modifier.load_state_dict(saved[modifier.state_key])

    def _adjust_losses(self, model: nn.Module) -> None:
        """Adjust the loss among the outputs of the model, in training."""
        forward = ForwardPass(model)

        def mean_loss(model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            # The Trainer asks for a sum over the micro-batches of a step, divided by all their labels.
            self._items = kwargs.get("num_items_in_batch") if model.training else None
            return args, {name: value for name, value in kwargs.items() if name != "num_items_in_batch"}

        def adjusted(model: nn.Module, args: Any, outputs: Any) -> Any:
            seen = forward.take()
            if not model.training or seen is None:
                return outputs
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
            if loss is None:
                raise UserError(
                    "ModifierCallback: the model returned no loss to adjust: it needs the labels in its inputs (no "
                    "label_smoothing_factor, no compute_loss_func) and return_dict=True."
                )
            for modifier in self.modifiers:
                loss = modifier.adjust_loss(loss, *seen)
            outputs["loss"] = loss * self._share(seen[1])
            return outputs

        self._hooks = [
            model.register_forward_pre_hook(mean_loss, with_kwargs=True),
            forward,
            model.register_forward_hook(adjusted),
        ]

    def _share(self, inputs: Mapping[str, Any]) -> Any:
        """The part of the labels of a step that is in one micro-batch; 1 if the Trainer divides by itself."""
        if self._items is None or "labels" not in inputs:
            return 1.0
        return (inputs["labels"] != _IGNORED).sum() / self._items


class _Loop:
    """What modifiers use of a Lightning Trainer and of a LightningModule, in a `transformers.Trainer`."""

    runs_modifiers = True
    max_epochs = -1  # the number of steps counts
    datamodule = None

    def __init__(self, model: nn.Module, modifiers: Sequence[Modifier]) -> None:
        self.model = model
        self.callbacks = list(modifiers)
        self.loggers: list[Any] = []
        self.lr_scheduler_configs: list[Any] = []
        self.strategy = self
        self._added: list[str] = []

    def begin(self, args: TrainingArguments, state: TrainerState, optimizer: Any, train_dataloader: Any) -> None:
        self._state = state
        self.optimizers = [getattr(optimizer, "optimizer", optimizer)]  # of accelerate, around that of torch
        self.train_dataloader = train_dataloader
        self.num_training_batches = len(train_dataloader)
        self.accumulate_grad_batches = args.gradient_accumulation_steps
        self.estimated_stepping_batches = state.max_steps
        self.is_global_zero, self.world_size = args.process_index == 0, args.world_size

    @property
    def global_step(self) -> int:
        return self._state.global_step

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def log(self, *args: Any, **kwargs: Any) -> None:
        """The Trainer shows its own values."""

    def broadcast(self, value: Tensor) -> Tensor:
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(value, src=0)
        return value

    def add_module(self, name: str, module: nn.Module) -> None:
        """Train a module with the model, until the training ends."""
        self.model.add_module(name, module)
        self._added.append(name)

    def remove_added(self) -> None:
        for name in self._added:
            delattr(self.model, name)
        self._added = []


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
