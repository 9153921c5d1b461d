"""What a run is logged to: metrics.csv, and W&B or TensorBoard beside it, which learn how the run ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from winnow.config.outputs import Logger
from winnow.config.run import RunConfig
from winnow.errors import StoppedError, describe
from winnow.processes import is_main_process


@contextmanager
def run_log() -> Iterator[list[Any]]:
    """An empty list for the loggers of a run, around its training and its export; at the end they learn how it ended
    and log what its folder holds.
    """
    loggers: list[Any] = []
    try:
        yield loggers
    except BaseException as error:
        _end(loggers, status=error.status if isinstance(error, StoppedError) else 1)
        raise
    _end(loggers, status=0)


def build_loggers(settings: Logger, folder: Path) -> list[Any]:
    """The loggers that the ``logger`` section names, metrics.csv first; nothing is written before they are used.

    Args:
        settings: the section.
        folder: of the run.
    """
    from winnow.loggers.csv_log import CSVLog

    loggers: list[Any] = [] if settings.kind == "none" else [CSVLog(folder)]
    if settings.kind == "wandb":
        from winnow.loggers.wandb_log import WandbLog

        loggers.append(WandbLog(folder, settings))
    elif settings.kind == "tensorboard":
        from winnow.loggers.tensorboard_log import TensorBoardLog

        loggers.append(TensorBoardLog(folder))
    return loggers


def log_again(config: RunConfig, folder: Path, loggers: list[Any]) -> None:
    """A run that was taken over from another folder is logged as one of its own, by its metrics.csv.

    Args:
        config: of the run.
        folder: of the run.
        loggers: joined by its own.
    """
    others = build_loggers(config.logger, folder)[1:]  # metrics.csv is there
    for logger in others if is_main_process() else []:
        from winnow.loggers.history import METRICS, read_rows

        logger.begin(config, resumed=False)
        for row in read_rows(folder / METRICS) if (folder / METRICS).is_file() else []:
            step = int(row.pop("step"))
            logger.log_metrics({name: float(value) for name, value in row.items()}, step=step)
    loggers += others


def _end(loggers: list[Any], status: int) -> None:
    """A log that cannot be ended well, for want of a connection say, does not undo a run."""
    for logger in loggers if is_main_process() else []:
        try:
            logger.end(status)
        except Exception as error:
            print(f"note: {type(logger).__name__} could not be ended: {describe(error)}")
