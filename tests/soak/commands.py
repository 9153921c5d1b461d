"""The commands of Winnow in processes of their own, and how they are killed or stopped."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass

from winnow.files.conf_folder import CONF

_TRACE = "Traceback"
LIMIT = 900.0  # seconds until a command counts as hung
_STATUS = {signal.SIGINT: 1, signal.SIGTERM: os.EX_TEMPFAIL, signal.SIGHUP: os.EX_TEMPFAIL}
_STOPPED = re.compile(r"^(interrupted|stopped by SIG\w+).*; (resume with: |run the same command)", re.MULTILINE)


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Args:
        status: its exit status; minus a signal that ended it.
        output, messages: its standard output and error.
    """

    status: int
    output: str
    messages: str
    seconds: float

    def fault(self) -> str:
        """What is wrong with the way it ended; '' for success and for one short message."""
        if _TRACE in self.messages:
            return "ended with a stack trace"
        if self.status and not re.search(r"^error: ", self.messages, re.MULTILINE):
            return f"ended with status {self.status} and no message"
        return ""

    def fault_of_stop(self, number: signal.Signals, last_line: str) -> str:
        """What is wrong with the way a signal stopped it; '' too if it had not begun, or had ended.

        Args:
            number: of the signal.
            last_line: that the command prints when it ends; Ctrl-C then ends a process that is about to exit.
        """
        if self.status == 0:
            return ""
        if self.status == -number and not self.messages and self.output.splitlines()[-1:] in ([], [last_line]):
            return ""
        if self.status == _STATUS[number] and _STOPPED.search(self.messages) and _TRACE not in self.messages:
            return ""
        return f"{number.name}: ended with status {self.status} and {self.messages!r}"


class Command:
    """A running ``python -m src.WORD ARGUMENTS``, at the head of a process group of its own."""

    def __init__(self, *command: str) -> None:
        self.began = time.monotonic()
        self.files = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115, closed by `end`
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"src.{command[0]}", *command[1:]],
            cwd=CONF.parent,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self.files[0],
            stderr=self.files[1],
            start_new_session=True,
        )

    def runs_for(self, seconds: float) -> bool:
        """Wait; True if it is still running afterwards."""
        try:
            self.process.wait(max(0.0, seconds - (time.monotonic() - self.began)))
        except subprocess.TimeoutExpired:
            return True
        return False

    def kill(self) -> Ended:
        """End it and all processes that it has started, in other process groups too, at once."""
        for pid in self._family():
            _send(pid, signal.SIGKILL)
        return self.end()

    def stop(self, number: signal.Signals) -> Ended:
        """Send a signal as a terminal does, to the whole group, or for SIGTERM as a scheduler does, to the process."""
        _send(self.process.pid if number == signal.SIGTERM else -self.process.pid, number)
        return self.end()

    def end(self) -> Ended:
        """Wait for the end; a command that hangs is killed, with status -9."""
        if self.runs_for(LIMIT):
            return self.kill()
        texts = []
        for file in self.files:
            file.seek(0)
            texts.append(file.read())
            file.close()
        return Ended(self.process.returncode, texts[0], texts[1], time.monotonic() - self.began)

    def _family(self) -> list[int]:
        listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
        children: dict[int, list[int]] = {}
        for pid, parent in (map(int, line.split()) for line in listed.splitlines()[1:]):
            children.setdefault(parent, []).append(pid)
        family = [self.process.pid]
        for pid in family:
            family += children.get(pid, [])
        return family


def run(*command: str) -> Ended:
    return Command(*command).end()


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
