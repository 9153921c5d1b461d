"""Build the loggers of a run from its configuration."""

from pathlib import Path
from typing import Any

from winnow.config.outputs import Logger
from winnow.config.run import RunConfig
from winnow.loggers.csv_log import CSVLog
from winnow.loggers.history import METRICS, read_rows
from winnow.loggers.tensorboard_log import TensorBoardLog
from winnow.loggers.wandb_log import WandbLog
from winnow.processes import is_main_process


def build_loggers(settings: Logger, folder: Path) -> list[Any]:
    """The loggers of the ``logger`` section, metrics.csv first; no file is written before they are used."""
    loggers: list[Any] = [] if settings.kind == "none" else [CSVLog(folder)]
    if settings.kind == "wandb":
        loggers.append(WandbLog(folder, settings))
    elif settings.kind == "tensorboard":
        loggers.append(TensorBoardLog(folder))
    return loggers


def log_again(config: RunConfig, folder: Path, loggers: list[Any]) -> None:
    """Replay metrics.csv of a run that was copied from another folder to its other loggers, and add these.

    Args:
        config: of the run.
        folder: of the run.
        loggers: the list of `run_log`.
    """
    others = build_loggers(config.logger, folder)[1:]  # metrics.csv was copied
    for logger in others if is_main_process() else []:
        logger.begin(config, resumed=False)
        for row in read_rows(folder / METRICS) if (folder / METRICS).is_file() else []:
            step = int(row.pop("step"))
            logger.log_metrics({name: float(value) for name, value in row.items()}, step=step)
    loggers += others
