"""Progress of a training: a bar on a terminal, else one line after each validation."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar

from winnow.modifiers.modifier import modifiers_of, recorded_events


def progress_callback(title: str, show_bar: bool | str) -> pl.Callback:
    """A progress bar or progress lines.

    Args:
        title: the first words, e.g. "prune80".
        show_bar: true, false, or "auto": a bar on a terminal.
    """
    bar = sys.stdout.isatty() if show_bar == "auto" else bool(show_bar)
    return ProgressBar(title) if bar else ProgressLines(title)


def progress_texts(progress: dict[str, Any]) -> dict[str, str]:
    """Values of `FineTuner.progress` as text: sparsity in percent, others with four digits, - for NaN."""
    return {
        name: f"{100 * float(value):.1f}%" if name == "sparsity" else f"{float(value):.4f}".replace("nan", "-")
        for name, value in progress.items()
    }


def _values(trainer: pl.Trainer, pl_module: Any) -> dict[str, Any]:
    """`FineTuner.progress` and the sparsity of the modifier that has pruned last."""
    pruned = [row for row in recorded_events(modifiers_of(trainer)) if row["sparsity"] is not None]
    return {**pl_module.progress, **({"sparsity": pruned[-1]["sparsity"]} if pruned else {})}


class ProgressBar(TQDMProgressBar):
    def __init__(self, title: str) -> None:
        super().__init__(refresh_rate=10)
        self.title = title

    @property
    def train_description(self) -> str:
        return self.title

    def on_train_start(self, trainer: pl.Trainer, *args: Any) -> None:
        super().on_train_start(trainer, *args)
        self.on_train_epoch_start(trainer, *args)  # Lightning does not call it for a run that resumes within an epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(f"{self.title} epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_exception(self, *args: Any) -> None:
        for bar in (self._train_progress_bar, self._val_progress_bar):  # the public names raise before the first step
            if bar is not None:
                bar.close()  # else it is drawn once more after the message of the error

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        return dict(progress_texts(_values(trainer, pl_module)))


class ProgressLines(pl.Callback):
    def __init__(self, title: str) -> None:
        self.title = title

    def on_train_start(self, *args: Any) -> None:
        self.started = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        epoch = trainer.global_step * (trainer.max_epochs or 0) / trainer.estimated_stepping_batches
        values = "  ".join(f"{name} {value}" for name, value in progress_texts(_values(trainer, pl_module)).items())
        seconds = time.monotonic() - self.started
        print(f"{self.title}  epoch {epoch:.1f} of {trainer.max_epochs}  {values}  {seconds:.0f} s", flush=True)
