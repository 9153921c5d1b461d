"""Stop a training whose loss, gradient or outputs are NaN or infinite, with the step and the rows of the batch."""

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from winnow.errors import UserError
from winnow.modifiers.modifier import modifiers_of

_JUMP, _FEWEST = 1000, 20  # times the median of the norms of at least 20 gradients


class DivergedError(UserError):
    """A training that cannot go on, because its numbers are NaN or infinite; raised in every process."""


@dataclass(frozen=True)
class _Observed:
    """The numbers of one batch, which may still be on their way from the GPU."""

    values: Tensor  # (2,): loss, norm of the gradient
    batch: Mapping[str, Tensor]
    steps: int  # optimizer steps before it
    epoch: int  # counted from 0
    copied: torch.cuda.Event | None


class FiniteLoss(pl.Callback):
    """Raise an error at the first batch with a loss or a gradient that is not finite, and note a gradient that jumps.

    In fp16 an infinite gradient is no error: the gradient scaler leaves the step out. The outputs of each validation
    must be finite too, so a training that diverges in its last step is noticed. It must come before callbacks that
    use the weights.

    Args:
        learning_rate: full name of the setting, for the remedy.
    """

    def __init__(self, learning_rate: str = "recipe.optimizer.learning_rate") -> None:
        self.learning_rate = learning_rate
        self._last: _Observed | None = None
        self._steps = 0
        self._norms: list[float] = []  # of the gradient, ascending
        self._noted = False

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self._steps = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Mapping[str, Tensor], *args: Any
    ) -> None:
        before, self._last = self._last, self._observed(trainer, pl_module, outputs["loss"], batch)
        self._check(trainer, pl_module, before if self._last.copied else self._last)

    def _observed(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor, batch: Mapping[str, Tensor]) -> _Observed:
        norm = pl_module.gradient_norm if trainer.precision != "16-mixed" else None
        numbers = [loss, torch.zeros_like(loss) if norm is None else norm]
        values, copied = torch.stack([number.detach().float() for number in numbers]), None
        if values.is_cuda:  # read at the next batch, so that the CPU does not wait for the GPU
            event: Any = torch.cuda.Event  # without types
            values, copied = values.to("cpu", non_blocking=True), event()
            copied.record()
        return _Observed(values, batch, self._steps, trainer.current_epoch, copied)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._check(trainer, pl_module, self._last)
        self._last = None

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if _in_any_process(trainer, not pl_module.outputs_are_finite()):
            raise DivergedError(
                f"after {_step(trainer, trainer.global_step, trainer.current_epoch)} the outputs of the model for the "
                f"validation rows are NaN or infinite. Try {' or '.join(self._remedies(trainer, pl_module))}."
            )

    def _check(self, trainer: pl.Trainer, pl_module: Any, seen: _Observed | None) -> None:
        fault = _fault(seen) if seen else ""
        if not _in_any_process(trainer, bool(fault)):
            if seen:
                self._note_jump(trainer, pl_module, seen)
            return
        here = self._described(trainer, pl_module, seen, fault) if seen and fault else ""
        everywhere = [here] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(everywhere, here)
        raise DivergedError(next(filter(None, everywhere)))

    def _note_jump(self, trainer: pl.Trainer, pl_module: Any, seen: _Observed) -> None:
        """Print a note, once, at a gradient that is far larger than those before it and than the limit to clip it."""
        norm = seen.values[1].item()
        if not norm or self._noted:
            return  # the norm is 0 where it is not known
        median = self._norms[len(self._norms) // 2] if len(self._norms) >= _FEWEST else math.inf
        if norm > _JUMP * max(median, pl_module.optimizer_settings.max_grad_norm):
            self._noted = True
            if trainer.is_global_zero:
                print(
                    f"note: {_step(trainer, seen.steps + 1, seen.epoch)}: the norm of the gradient is {norm:.3g}, and "
                    f"was {median:.3g} at the typical step before; the training may diverge. Try "
                    f"{' or '.join(self._remedies(trainer, pl_module))}.",
                    flush=True,
                )
        bisect.insort(self._norms, norm)

    def _described(self, trainer: pl.Trainer, pl_module: Any, seen: _Observed, fault: str) -> str:
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            causes = [modifier.fault(seen.batch) for modifier in modifiers_of(trainer)]
        cause = next((f", since {cause}" for cause in causes if cause), "")
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # set outside Trainer.__init__
        rows = data.described_rows(seen.batch["row"].tolist())
        what = f"{_step(trainer, seen.steps + 1, seen.epoch)}: {fault}{cause}. The rows of the batch are {rows}."
        remedies = self._remedies(trainer, pl_module)[0 if seen.steps else 1 :]  # the first loss is that of no step
        advice = f"Try {' or '.join(remedies)}, or check" if remedies else "Check"
        return what if cause else f"{what} {advice} their labels and texts."

    def _remedies(self, trainer: pl.Trainer, pl_module: Any) -> list[str]:
        rate = f"a smaller {self.learning_rate} (it is {pl_module.optimizer_settings.learning_rate:g})"
        mixed = trainer.precision != "32-true"
        return [rate, *([f"trainer.precision=32-true (it is {trainer.precision})"] if mixed else [])]


def _step(trainer: pl.Trainer, number: int, epoch: int) -> str:
    total = int(trainer.estimated_stepping_batches)
    return f"step {number:,} of {total:,} (epoch {epoch + 1} of {trainer.max_epochs})"


def _fault(seen: _Observed) -> str:
    if seen.copied:
        seen.copied.synchronize()
    loss, norm = seen.values.tolist()
    if not math.isfinite(loss):
        return f"the loss is {loss}, not a finite number"
    return "" if math.isfinite(norm) else "the gradient is NaN or infinite"


def _in_any_process(trainer: pl.Trainer, here: bool) -> bool:
    """All processes of a data-parallel run must stop at the same step, or the others would wait for ever."""
    return bool(trainer.strategy.reduce_boolean_decision(here, all=False))
