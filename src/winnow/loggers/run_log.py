"""The loggers of a run, closed with its exit status."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


def _end(loggers: list[Any], status: int) -> None:
    """Close the loggers; a failure, for example without a connection, is printed and does not fail the run."""
    for logger in loggers if is_main_process() else []:
        try:
            logger.end(status)
        except Exception as error:
            print(f"note: {type(logger).__name__} could not be closed: {describe(error)}")
