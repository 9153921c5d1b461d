"""The LightningModule: loss with the adjustments of all modifiers, metrics and optimizer."""

from collections.abc import Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from datasets import Dataset
from torch import Tensor, nn

from winnow.config.recipe import Optimizer
from winnow.models.finite import are_finite
from winnow.modifiers.modifier import modifiers_of
from winnow.tasks.metrics import metric_collection, metric_suffixes
from winnow.tasks.task import Task
from winnow.training.micro_batches import MicroBatches


class FineTuner(pl.LightningModule):
    """Fine-tunes a transformer on a task.

    Args:
        model: a Hugging Face model with the task's head.
        task: gives the loss and the metrics.
        optimizer: learning_rate, weight_decay, max_grad_norm; what a modifier says of the first two holds from
            its step on.
        validation: the validation splits, in the order of their loaders; metrics of the first are logged as
            ``val/accuracy``, those of another as ``val/accuracy_mismatched``.
        micro_batch_size: of a `MicroBatches`; None: each batch is computed as a whole.
    """

    runs_modifiers = True

    def __init__(
        self,
        model: nn.Module,
        *,
        task: Task,
        optimizer: Optimizer,
        validation: Mapping[str, Dataset],
        micro_batch_size: int | Literal["auto"] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.optimizer_settings = optimizer
        self.micro_batches = None if micro_batch_size is None else MicroBatches(micro_batch_size)
        self._metrics = [
            metric_collection(task.metrics(split), suffix)
            for split, suffix in zip(validation.values(), metric_suffixes(list(validation)), strict=True)
        ]
        self.val_metrics = nn.ModuleList(self._metrics)  # moves them to the device of the model
        self.progress: dict[str, Any] = {}  # shown in the progress bar beside the epoch
        self.gradient_norm: Tensor | None = None  # before clipping, of the last batch; None if it took no step
        self._finite: list[Tensor] = []  # of each validation batch: are all outputs finite?

    def on_fit_start(self) -> None:
        self._modifiers = modifiers_of(self.trainer)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        self.gradient_norm = None
        loss = self._loss(batch) if self.micro_batches is None else self._loss_by_parts(batch, self.micro_batches)
        self.log("train/loss", loss.detach(), batch_size=len(batch["input_ids"]))
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=1)
        self.progress["loss"] = loss.detach()
        return loss

    def _loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        outputs = self.task.outputs(self.model, batch)
        loss = self.task.training_loss(outputs, batch)
        for modifier in self._modifiers:
            loss = modifier.adjust_loss(loss, outputs, batch)
        return loss

    def _loss_by_parts(self, batch: Mapping[str, Tensor], micro_batches: MicroBatches) -> Tensor:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)  # of fp16
        return micro_batches.loss(self, batch, self._loss, scale=scaler.get_scale() if scaler else 1.0)

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        outputs = self.task.outputs(self.model, batch)
        self._finite.append(are_finite(outputs))
        self.task.update_metrics(self._metrics[dataloader_idx], outputs, batch)

    def on_validation_epoch_start(self) -> None:
        self._finite = []

    def outputs_are_finite(self) -> bool:
        """True if all outputs of the present validation are finite in this process."""
        return not self._finite or bool(torch.stack(self._finite).all())

    def on_validation_epoch_end(self) -> None:
        for metrics in self._metrics:
            for name, value in metrics.compute().items():
                self.log(f"val/{name}", value)
                self.progress[name] = value
            metrics.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.micro_batches:
            checkpoint["micro_batch_size"] = self.micro_batches.size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.micro_batches:
            self.micro_batches.size = checkpoint["micro_batch_size"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.optimizer_settings
        parameters = [p for p in self.parameters() if p.requires_grad]
        decayed = [p for p in parameters if p.ndim > 1]
        plain = [p for p in parameters if p.ndim <= 1]  # biases and norms
        return torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": settings.weight_decay, "decayed": True},
                {"params": plain, "weight_decay": 0.0, "decayed": False},
            ],
            lr=settings.learning_rate,
            # Under the gradient scaler of fp16 a fused step unscales by itself, after the clipping.
            fused=self.trainer.precision != "16-mixed",
        )

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        # Lightning refuses to clip for a fused optimizer in mixed precision, though bf16 has no scaler to mind.
        limit = self.optimizer_settings.max_grad_norm
        if limit:
            self.gradient_norm = torch.nn.utils.clip_grad_norm_(self.parameters(), limit)
