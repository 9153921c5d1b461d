"""Output of a training that cannot be written, to a closed pipe, a full disk or a lost terminal, is dropped."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


@contextmanager
def droppable_output() -> Iterator[None]:
    """Standard output and error whose failures do not end the command; the first of the output is noted in the error.

    A stream that is redirected within Python is left as it is.
    """
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:
        sys.stdout = _droppable(sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _droppable(sys.stderr)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


class _DroppingFile(io.FileIO):
    _noted = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self.fileno() == 1 and not self._noted:
                note = (
                    f"note: standard output cannot be written ({error.strerror}) and is dropped; the command goes on.\n"
                )
                with suppress(OSError):
                    os.write(2, note.encode())
            self._noted = True
            return len(data)


def _droppable(stream: Any) -> TextIO:
    if stream is None:  # it was closed before the command
        return open(os.devnull, "w")
    stream.flush()
    raw = _DroppingFile(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),  # python -u has no buffer
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
