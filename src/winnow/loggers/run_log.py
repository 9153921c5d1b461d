"""Builds the loggers of a run and closes them with its exit status."""

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
    """A list to which a run adds its loggers; on exit each logs the result and is closed with the exit status."""
    loggers: list[Any] = []
    try:
        yield loggers
    except BaseException as error:
        _end(loggers, status=error.status if isinstance(error, StoppedError) else 1)
        raise
    _end(loggers, status=0)


def build_loggers(settings: Logger, folder: Path) -> list[Any]:
    """The loggers of the ``logger`` section, metrics.csv first; no file is written before they are used."""
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
    """Replay metrics.csv of a run that was copied from another folder to its other loggers, and add these.

    Args:
        config: of the run.
        folder: of the run.
        loggers: the list of `run_log`.
    """
    others = build_loggers(config.logger, folder)[1:]  # metrics.csv was copied
    for logger in others if is_main_process() else []:
        from winnow.loggers.history import METRICS, read_rows

        logger.begin(config, resumed=False)
        for row in read_rows(folder / METRICS) if (folder / METRICS).is_file() else []:
            step = int(row.pop("step"))
            logger.log_metrics({name: float(value) for name, value in row.items()}, step=step)
    loggers += others


def _end(loggers: list[Any], status: int) -> None:
    """Close the loggers; a failure, for example without a connection, is printed and does not fail the run."""
    for logger in loggers if is_main_process() else []:
        try:
            logger.end(status)
        except Exception as error:
            print(f"note: {type(logger).__name__} could not be closed: {describe(error)}")
