"""The Lightning Trainer of a run: precision by hardware, the best checkpoint, early stopping."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.memory import is_oom_error

from winnow.command_line import resuming_command
from winnow.config.run import RunConfig
from winnow.config.trainer import Precision, Trainer
from winnow.errors import StoppedError, UserError, first_line
from winnow.files.checkpoint_files import check_best
from winnow.files.run_files import BEST, CHECKPOINTS
from winnow.modifiers.modifier import Modifier
from winnow.processes import is_main_process
from winnow.signals import deferred, hold_back, let_through, stoppable
from winnow.training.checkpoints import AtomicCheckpointIO, RunCheckpoint
from winnow.training.finite_loss import DivergedError, FiniteLoss
from winnow.training.progress import ProgressBar, progress_callback
from winnow.training.random_state import RandomState

# Values of ONEDNN_MAX_CPU_ISA with which oneDNN does not use the bf16 of a processor; it then emulates bf16 slowly.
_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


def best_precision(accelerator: str) -> Precision:
    """bf16 where the hardware computes in it, fp16 on other GPUs, else full precision."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    capabilities = torch.cpu.get_capabilities()
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    limited = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BF16
    return "bf16-mixed" if native and not limited and not _is_mps(accelerator) else "32-true"


def loader_workers(num_workers: int | str) -> int:
    if num_workers == "auto":
        return 2 if torch.cuda.is_available() else 0
    return int(num_workers)


def processes(trainer: Trainer) -> int:
    """How many processes share the batches of an epoch."""
    if not trainer.data_parallel:
        return 1
    return trainer.devices if isinstance(trainer.devices, int) else max(1, torch.cuda.device_count())


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """The callbacks of a Trainer, which Lightning sets without declaring them."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set outside Trainer.__init__
    return callbacks


def check_hardware(trainer: Trainer) -> None:
    """Refuse devices and precisions that this machine does not have, before data are loaded.

    Raises:
        UserError: with the setting, or with Lightning's reason.
    """
    if trainer.accelerator in ("gpu", "cuda") and not (torch.cuda.is_available() or _is_mps(trainer.accelerator)):
        raise UserError(
            f"trainer.accelerator={trainer.accelerator}: torch {torch.__version__} finds no GPU on this machine; use "
            "trainer.accelerator=cpu, or install a driver and a torch for the GPU."
        )
    on_gpus = trainer.accelerator != "cpu" and torch.cuda.is_available()
    found, kind = (torch.cuda.device_count(), "GPUs") if on_gpus else (os.cpu_count() or 1, "processors")
    if isinstance(trainer.devices, int) and trainer.devices > found:
        raise UserError(
            f"trainer.devices={trainer.devices} is more than the {found} {kind} of this machine; give at most {found}."
        )
    if not trainer.data_parallel:  # its processes check by themselves
        _new_trainer(trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)


def _new_trainer(trainer: Trainer, **options: Any) -> pl.Trainer:
    hardware = _hardware(trainer)
    try:
        return pl.Trainer(**hardware, **options)
    except Exception as error:  # of several types
        chosen = f"accelerator={trainer.accelerator}, devices={trainer.devices}, strategy={trainer.strategy}"
        raise UserError(f"trainer: this machine cannot run {chosen} ({first_line(error)}).") from error


def _hardware(trainer: Trainer) -> dict[str, Any]:
    precision = best_precision(trainer.accelerator) if trainer.precision == "auto" else trainer.precision
    if precision == "16-mixed" and not torch.cuda.is_available():
        raise UserError("trainer.precision=16-mixed needs a GPU; use bf16-mixed or 32-true on a CPU.")
    return {
        "accelerator": trainer.accelerator,
        "devices": trainer.devices,
        "strategy": trainer.strategy,
        "precision": precision,
        "deterministic": trainer.deterministic,
    }


def build_trainer(
    config: RunConfig,
    folder: Path,
    modifiers: list[Modifier],
    monitor: str,
    loggers: Sequence[Logger] = (),
) -> pl.Trainer:
    """The Trainer of a run.

    Args:
        config: of the run.
        folder: of the run.
        modifiers: in the order in which they act.
        monitor: the logged metric that chooses the best model; larger is better unless it is an error or a perplexity.
        loggers: of the run.
    """
    trainer = config.trainer
    progress = progress_callback(config.title or config.recipe.name, trainer.progress_bar)
    patience = trainer.patience
    return _new_trainer(
        trainer,
        max_epochs=config.recipe.num_epochs,
        max_steps=trainer.max_steps or -1,
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        limit_train_batches=trainer.limit_train_batches,
        log_every_n_steps=trainer.log_every_n_steps,
        callbacks=[
            FiniteLoss(config.learning_rate_setting),  # before the modifiers, which would act on weights that are NaN
            *modifiers,
            progress,
            RandomState(),
            BestCheckpoint(folder / CHECKPOINTS, monitor),
            *([EarlyStop(monitor, patience)] if patience else []),
            RunCheckpoint(folder, every=trainer.checkpoint_every),
        ],
        plugins=[AtomicCheckpointIO()],
        logger=list(loggers) or False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the batch sampler deals batches out to the ranks itself
        enable_progress_bar=isinstance(progress, ProgressBar),
        enable_model_summary=False,
    )


def fit(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, checkpoint: Path | None = None
) -> float:
    """Train, or resume from a checkpoint.

    Returns:
        Seconds of training, including those before the checkpoint.

    Raises:
        StoppedError: if the user or a cluster stops the training.
        DivergedError: if a loss is not finite.
        UserError: if the memory is too small.
    """
    run = next(c for c in callbacks_of(trainer) if isinstance(c, RunCheckpoint))
    try:
        with stoppable(f"resume with: {resuming_command()}"), deferred():
            hold_back()  # until the callbacks are set up, in all processes
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except (StoppedError, DivergedError):  # in all processes
        if not trainer.is_global_zero:
            sys.exit()  # with another status Lightning would kill the main process while it records the end
        raise
    except RuntimeError as error:
        if not is_oom_error(error):
            raise
        raise UserError(
            "the memory ran out in training. Try trainer.micro_batch_size=auto, which computes each batch in parts, "
            "trainer.gradient_checkpointing=true, or for a validation a smaller task.data.eval_batch_size."
        ) from error
    finally:
        let_through()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return run.seconds


class BestCheckpoint(ModelCheckpoint):
    """Keep the weights of the best validation once every modifier has settled."""

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(
            dirpath=folder,
            filename=Path(BEST).stem,
            monitor=monitor,
            mode=_better(monitor),
            save_weights_only=True,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    def setup(self, *args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*exists and is not empty")  # the folder of a resumed run
            super().setup(*args, **kwargs)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Look for the file in the present folder: the run folder may have been moved. Without it search anew."""
        path = Path(str(self.dirpath), BEST)
        if state_dict["best_model_path"] and not path.is_file():
            if is_main_process():
                print(f"note: {path} is missing, so the best model of the validations to come is kept.")
            return
        best = str(path) if state_dict["best_model_path"] else ""
        moved: dict[str, Any] = {"dirpath": self.dirpath, "best_model_path": best, "kth_best_model_path": best}
        moved["best_k_models"] = {best: state_dict["best_model_score"]} if best else {}
        super().load_state_dict(state_dict | moved)
        self.current_score = state_dict["current_score"]

    def check_monitor_top_k(self, trainer: pl.Trainer, current: torch.Tensor | None = None) -> bool:
        """Without a finite score so far the newest model is the best one, since it is trained longest."""
        best = self.best_model_score
        return super().check_monitor_top_k(trainer, current) or (best is not None and not best.isfinite())

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True  # makes Lightning validate although the last step is within an epoch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if _all_settled(trainer):
            super().on_validation_end(trainer, pl_module)


class EarlyStop(EarlyStopping):
    """Stop after ``patience`` validations without a better result, counted once every modifier has settled."""

    def __init__(self, monitor: str, patience: int) -> None:
        super().__init__(
            monitor=monitor,
            mode=_better(monitor),
            patience=patience,
            check_finite=False,  # NaN is not a better result
            check_on_train_epoch_end=False,
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.wait_count >= self.patience:  # killed after it had stopped
            trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not _all_settled(trainer):
            return
        super().on_validation_end(trainer, pl_module)
        epoch = trainer.current_epoch + 1
        if self.wait_count >= self.patience and epoch < (trainer.max_epochs or 0) and trainer.is_global_zero:
            print(
                f"Stopped early, after epoch {epoch} of {trainer.max_epochs}: {self.monitor} did not get better than "
                f"{self.best_score:.4f} (trainer.patience={self.patience})"
            )


def _all_settled(trainer: pl.Trainer) -> bool:
    return all(c.is_settled(trainer.global_step) for c in callbacks_of(trainer) if isinstance(c, Modifier))


def _better(monitor: str) -> str:
    return "min" if monitor.endswith(("error", "perplexity")) else "max"


def best_weights(trainer: pl.Trainer) -> dict[str, torch.Tensor]:
    """The state of the module at its best validation.

    Raises:
        UserError: if its checkpoint is damaged.
    """
    best = next(c.best_model_path for c in callbacks_of(trainer) if isinstance(c, BestCheckpoint))
    if not best:
        raise RuntimeError("no validation ran once the recipe had finished, so there is no best model")
    check_best(Path(best))
    state: dict[str, torch.Tensor] = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
    return state


def epochs_taken(trainer: pl.Trainer) -> float:
    """Epochs trained; fewer than the recipe's after an early stop."""
    return (trainer.fit_loop.epoch_loop.total_batch_idx + 1) / trainer.num_training_batches


def _is_mps(accelerator: str) -> bool:
    return accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available()
