"""The Lightning Trainer of a run: precision by hardware, checkpoints that count only a model that is finished."""

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from winnow.errors import StoppedError, UserError
from winnow.files.run_files import CHECKPOINTS
from winnow.modifiers.modifier import Modifier
from winnow.training.checkpoints import RunCheckpoint, WholeFiles
from winnow.training.progress import ProgressBar, progress_callback
from winnow.training.random_state import RandomState

# Values of ONEDNN_MAX_CPU_ISA that keep oneDNN from the bf16 of a processor; it then imitates it slowly.
_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


def best_precision(accelerator: str) -> str:
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


def processes(trainer: Mapping[str, Any]) -> int:
    """How many processes share the batches of an epoch, by the ``trainer`` section."""
    if trainer["strategy"] == "auto":
        return 1
    devices = trainer["devices"]
    return devices if isinstance(devices, int) else max(1, torch.cuda.device_count())


def build_trainer(
    config: Mapping[str, Any],
    folder: Path,
    modifiers: list[Modifier],
    monitor: str,
    loggers: Sequence[Logger] = (),
) -> pl.Trainer:
    """The Trainer of a resolved configuration.

    Args:
        config: as `winnow.config.resolve.resolve` returns it.
        folder: of the run.
        modifiers: in the order in which they act.
        monitor: the logged metric that chooses the best model; larger is better unless it is an error or a perplexity.
        loggers: as `winnow.loggers.run_log.build_loggers` returns them.
    """
    trainer = config["trainer"]
    precision = best_precision(trainer["accelerator"]) if trainer["precision"] == "auto" else trainer["precision"]
    if precision == "16-mixed" and not torch.cuda.is_available():
        raise UserError("trainer.precision=16-mixed needs a GPU; use bf16-mixed or 32-true on a CPU.")
    progress = progress_callback(config.get("title", config["recipe"]["name"]), trainer["progress_bar"])
    patience = trainer["patience"]
    return pl.Trainer(
        accelerator=trainer["accelerator"],
        devices=trainer["devices"],
        strategy=trainer["strategy"],
        precision=precision,
        max_epochs=config["recipe"]["num_epochs"],
        max_steps=trainer["max_steps"] or -1,
        accumulate_grad_batches=trainer["accumulate_grad_batches"],
        limit_train_batches=trainer["limit_train_batches"],
        log_every_n_steps=trainer["log_every_n_steps"],
        deterministic=trainer["deterministic"],
        callbacks=[
            *modifiers,
            progress,
            RandomState(),
            BestCheckpoint(folder / CHECKPOINTS, monitor),
            *([EarlyStop(monitor, patience)] if patience else []),
            RunCheckpoint(folder, every=trainer["checkpoint_every"]),
        ],
        plugins=[WholeFiles()],
        logger=list(loggers) or False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the batch sampler deals batches out to the ranks itself
        enable_progress_bar=isinstance(progress, ProgressBar),
        enable_model_summary=False,
    )


def fit(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, checkpoint: Path | None = None
) -> float:
    """Train, from a checkpoint on where there is one.

    Returns:
        Seconds, those before the checkpoint too.

    Raises:
        StoppedError: if the user or a cluster stops the training.
    """
    run = next(c for c in trainer.callbacks if isinstance(c, RunCheckpoint))
    try:
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except StoppedError:
        if not trainer.is_global_zero:
            sys.exit()  # with another status Lightning would kill the main process while it records the end
        raise
    except SystemExit as ended:
        if trainer.interrupted:  # Lightning's answer to Ctrl-C
            raise run.interrupted(trainer) from ended
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return run.seconds


class BestCheckpoint(ModelCheckpoint):
    """Keeps the weights of the best validation, from the step on at which every modifier has settled."""

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=monitor,
            mode=_better(monitor),
            save_weights_only=True,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    def setup(self, *args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*exists and is not empty")  # that of a resumed run
            super().setup(*args, **kwargs)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The file is looked for in the folder as it is called now."""
        best = str(Path(self.dirpath) / "best.ckpt") if state_dict["best_model_path"] else ""
        moved = {"dirpath": self.dirpath, "best_model_path": best, "kth_best_model_path": best}
        moved["best_k_models"] = {best: state_dict["best_model_score"]} if best else {}
        super().load_state_dict(state_dict | moved)
        self.current_score = state_dict["current_score"]

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True  # Lightning then validates also where the last step is within an epoch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if _all_settled(trainer):
            super().on_validation_end(trainer, pl_module)


class EarlyStop(EarlyStopping):
    """Stops after ``patience`` validations without a better result, counted once every modifier has settled."""

    def __init__(self, monitor: str, patience: int) -> None:
        super().__init__(
            monitor=monitor,
            mode=_better(monitor),
            patience=patience,
            check_finite=False,  # a result that is no number is none that is better
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
        if self.wait_count >= self.patience and epoch < trainer.max_epochs and trainer.is_global_zero:
            print(
                f"Stopped early, after epoch {epoch} of {trainer.max_epochs}: {self.monitor} did not get better than "
                f"{self.best_score:.4f} (trainer.patience={self.patience})"
            )


def _all_settled(trainer: pl.Trainer) -> bool:
    return all(c.is_settled(trainer.global_step) for c in trainer.callbacks if isinstance(c, Modifier))


def _better(monitor: str) -> str:
    return "min" if monitor.endswith(("error", "perplexity")) else "max"


def best_weights(trainer: pl.Trainer) -> dict[str, torch.Tensor]:
    """The state of the module at its best validation."""
    best = next(c.best_model_path for c in trainer.callbacks if isinstance(c, BestCheckpoint))
    if not best:
        raise RuntimeError("no validation ran once the recipe had finished, so there is no best model")
    return torch.load(best, map_location="cpu", weights_only=True)["state_dict"]


def epochs_taken(trainer: pl.Trainer) -> float:
    """Epochs that the training had; fewer than the recipe's after an early stop."""
    return (trainer.fit_loop.epoch_loop.total_batch_idx + 1) / trainer.num_training_batches


def _is_mps(accelerator: str) -> bool:
    return accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available()
