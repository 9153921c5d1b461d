"""Checkpoints to resume from: the last two, written atomically, and one when a signal asks the run to stop."""

import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from winnow import signals
from winnow.files.atomic import PARTIAL, require_disk_space
from winnow.files.run_files import CHECKPOINTS, LAST, PREVIOUS


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place and rename it. (Lightning uses the folder for temporary files.)"""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + PARTIAL)
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


class RunCheckpoint(Checkpoint):
    """Save the state of the training every ``every`` steps, after each epoch, and when a signal asks for it.

    A state is saved between an optimizer step and the next batch; at the end of an epoch before the validation, which a
    resumed run repeats.

    Args:
        folder: of the run.
        every: optimizer steps between checkpoints.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder = folder / CHECKPOINTS
        self.every = every
        self.saved_step: int | None = None
        self._step = 0
        self._seconds_before = 0.0
        self._began = time.monotonic()
        self._keep_previous = False

    @property
    def seconds(self) -> float:
        """Seconds of training, without those that were lost when the run was killed."""
        return self._seconds_before + time.monotonic() - self._began

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        signals.let_through()
        self._began = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step
        if trainer.ckpt_path:
            self._resume(trainer, Path(trainer.ckpt_path))
        # Lightning's own handler starts a collective operation while the other processes may be in another one.
        signals.set_handlers()

    def _resume(self, trainer: pl.Trainer, checkpoint: Path) -> None:
        self.saved_step = trainer.global_step
        self._keep_previous = checkpoint.name == PREVIOUS  # the last one is damaged
        # Lightning loses the loader's state when the number of steps was read before it restored the loader.
        taken = 0 if trainer.is_last_batch else trainer.fit_loop.epoch_loop.batch_progress.current.ready
        loader: Any = trainer.train_dataloader
        loader.load_state_dict({"taken": taken})
        if trainer.is_global_zero:
            loggers: list[Any] = trainer.loggers  # each has `cut`
            for logger in loggers:
                logger.cut(self._step)
            print(f"Resumed at step {_step_of(trainer)}.", flush=True)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self._step:
            return  # gradients are being accumulated
        self._step = trainer.global_step
        if 0 < trainer.max_steps <= self._step:
            return  # resumed from here, a training that trainer.max_steps ends would not be validated
        # all processes stop at the same step
        stop = trainer.strategy.reduce_boolean_decision(signals.received(), all=False)
        if stop or trainer.is_last_batch or self._step % self.every == 0:
            self._save(trainer)
        if stop:
            self._stop(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if signals.received() and trainer.world_size == 1:  # several processes may have different numbers of batches
            self._stop(trainer)

    def on_train_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.is_global_zero and self.saved_step is not None:
            (self.folder / PREVIOUS).unlink(missing_ok=True)  # it is as large as the last one and no longer needed

    def _save(self, trainer: pl.Trainer) -> None:
        new, last = self.folder / f"next{PARTIAL}", self.folder / LAST
        if trainer.is_global_zero and last.exists():
            remedy = "then add resume=true to the command, which resumes from the checkpoint before it"
            require_disk_space(self.folder, last.stat().st_size, f"the checkpoint of step {self._step:,} takes", remedy)
        trainer.save_checkpoint(new)
        if trainer.is_global_zero:
            if last.exists() and not self._keep_previous:
                last.replace(self.folder / PREVIOUS)
            new.replace(last)
        self._keep_previous = False
        self.saved_step = self._step

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Mark an end-of-epoch checkpoint as 'validation started', else Lightning skips the validation on resume."""
        if trainer.is_last_batch:
            progress = checkpoint["loops"]["fit_loop"]
            for count in ("total", "current"):
                batches = progress["epoch_loop.batch_progress"][count]
                batches["completed"] = batches["ready"]
                progress["epoch_loop.val_loop.batch_progress"][count] |= {
                    "ready": 1, "started": 1, "processed": 0, "completed": 0,
                }  # fmt: skip

    def _stop(self, trainer: pl.Trainer) -> None:
        saved = ", which is saved" if self.saved_step == self._step else ""
        raise signals.stopped(f" at step {_step_of(trainer)}{saved}")

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds_before = state_dict["seconds"]


def _step_of(trainer: pl.Trainer) -> str:
    return f"{trainer.global_step:,} of {int(trainer.estimated_stepping_batches):,}"
