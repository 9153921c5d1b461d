"""Signals that stop a command: it ends with one message, and a training saves its state first.

SIGTERM and SIGHUP, which a lost terminal sends, exit with status 75, Ctrl-C exits with 1. A signal that was ignored
when the command started, as by `nohup`, stays ignored.
"""

import os
import signal
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from winnow import errors
from winnow.errors import StoppedError
from winnow.processes import in_submitit, is_main_process


@dataclass
class _Command:
    """The command of this process.

    Args:
        remedy: the last part of its message when it is stopped.
        handlers: by signal; empty outside a command.
        deferred: a signal is only noted.
        received: the last signal.
        raised: the error that ends the command.
        process: its id; a forked child has another.
    """

    remedy: str = ""
    handlers: dict[signal.Signals, Any] = field(default_factory=dict)
    deferred: bool = False
    received: signal.Signals | None = None
    raised: "weakref.ref[StoppedError] | None" = None
    process: int = field(default_factory=os.getpid)


_command = _Command()


def install(remedy: str) -> dict[signal.Signals, Any]:
    """Make the stop signals raise a StoppedError from now on, with a message that ends with the remedy.

    Returns:
        The handlers before.
    """
    global _command
    before = {number: signal.getsignal(number) for number in _stop_signals()}
    kept = (signal.SIG_IGN, None)  # None is a handler that is not Python's
    handlers = {number: handler if handler in kept else _handle for number, handler in before.items()}
    # The main process of a data-parallel run, which waits for the others within `deferred`, decides for all.
    _command = _Command(remedy, handlers, deferred=not is_main_process())
    set_handlers()
    return before


@contextmanager
def stoppable(remedy: str) -> Iterator[None]:
    """`install` for a part of a process; without effect within a command, and in a thread."""
    global _command
    if _command.handlers or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = install(remedy)
    try:
        yield
    finally:
        _set(before)
        _command, errors.stop = _Command(), None


@contextmanager
def deferred() -> Iterator[None]:
    """Within a training: a signal is noted, for `received`. It raises at the end at the latest."""
    before, _command.deferred = _command.deferred, True
    try:
        yield
    finally:
        _command.deferred = before
    if _command.received:
        raise stopped()


def hold_back() -> None:
    """Let the stop signals wait until `let_through`, also in processes that are started meanwhile.

    A new process of a data-parallel run would die of Ctrl-C before it has handlers, and Lightning then kills the main
    one, which could say nothing.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _stop_signals())


def let_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _stop_signals())


def received() -> bool:
    return _command.received is not None


def stopped(where: str = "") -> StoppedError:
    """The error that ends the command.

    Args:
        where: the state of the training, such as " at step 5 of 12".
    """
    number = _command.received
    by_hand = number == signal.SIGINT
    name = number.name if number else "a signal"  # to another process of a data-parallel run
    what = "interrupted" if by_hand else f"stopped by {name}"
    error = StoppedError(f"{what}{where}; {_command.remedy}", status=1 if by_hand else os.EX_TEMPFAIL)
    _command.raised = weakref.ref(error)
    errors.stop = str(error), error.status
    return error


def set_handlers() -> None:
    """Set the handlers of the command again; Lightning replaces that of SIGTERM."""
    _set({n: each for n, each in _command.handlers.items() if not n == signal.SIGINT == _command.received})


def ended() -> None:
    """Once the command has ended: a signal no longer changes its exit status, but Ctrl-C ends a process that hangs."""
    _set({n: signal.SIG_DFL if n == signal.SIGINT else signal.SIG_IGN for n in _command.handlers})


def _stop_signals() -> tuple[signal.Signals, ...]:
    """In a job of submitit SIGUSR2, which it gets before its time is over or another job takes its place.

    A SIGTERM may come with it there, and must not end the job before it is in the queue again.
    """
    return signal.SIGINT, *((signal.SIGUSR2,) if in_submitit() else (signal.SIGTERM, signal.SIGHUP))


def _set(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)


def _handle(number: int, frame: Any) -> None:
    again = number == signal.SIGINT == _command.received
    forked = os.getpid() != _command.process
    if again or (forked and not _command.deferred):
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _command.received = signal.Signals(number)
    if number == signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)  # a second Ctrl-C ends the process at once, also within a library
        _end_line()
    on_its_way = _command.raised is not None and _command.raised() is not None  # else a library has caught it
    if not _command.deferred and not on_its_way:
        raise stopped()


def _end_line() -> None:
    """End the line in which the terminal has written ^C."""
    if is_main_process() and os.isatty(2):
        os.write(2, b"\n")
