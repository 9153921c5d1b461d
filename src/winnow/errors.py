"""A user's mistake: one short message, exit status 1, never a stack trace."""

import difflib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

# of a path that cannot be used: a file in the way, no permission, a disk that is read-only, a name that is too long
_NO_PLACE = {
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT),
}
# Message and status of the signal that stops the command, once `winnow.signals` has raised its error: a library that is
# not written in Python may make another error of it.
stop: tuple[str, int] | None = None
TRACES = "WINNOW_TRACES"  # the user's HYDRA_FULL_ERROR, which commands replace


class UserError(ValueError):
    """What is wrong, the value, and the remedy, in one or two sentences; invisible characters become escapes."""

    def __init__(self, message: str) -> None:
        super().__init__(visible(message))


class StoppedError(BaseException):
    """A command that was stopped by a signal; like KeyboardInterrupt no Exception, which libraries catch.

    Args:
        status: with which the command exits.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def visible(text: str) -> str:
    """The text with escapes for what is not seen in print, such as a byte order mark or a zero-width space."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean X?' where one of the known names is close to ``name``, else an empty string.

    Of names that are equally close the first in order is taken: prune8O may mean prune80 or prune83.
    """
    likeness = {each: difflib.SequenceMatcher(None, each, name).ratio() for each in sorted(known)}
    best = max(likeness, key=likeness.__getitem__, default="")
    return f" Did you mean '{best}'?" if likeness.get(best, 0) >= 0.6 else ""


def wants_traces() -> bool:
    """True where the user has set HYDRA_FULL_ERROR=1, which asks for the trace of an error."""
    return os.environ.get(TRACES, os.environ.get("HYDRA_FULL_ERROR")) == "1"


@contextmanager
def short_errors() -> Iterator[None]:
    """Print an error as one message and exit with status 1; HYDRA_FULL_ERROR=1 shows the trace instead."""
    try:
        yield
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
    except (Exception, StoppedError) as error:
        causes = (cause for cause in _causes(error) if isinstance(cause, StoppedError))
        message, status = next(((str(cause), cause.status) for cause in causes), stop or ("", 0))
        if message:
            with suppress(OSError):  # of a lost terminal
                print(message, file=sys.stderr, flush=True)
            sys.exit(status)
        if wants_traces():
            raise
        sys.exit(f"error: {describe(error)}")


def describe(error: BaseException) -> str:
    """The message for the user: that of a UserError unchanged, any other with its type and how to see the trace."""
    for cause in _causes(error):  # a constructor's error arrives wrapped
        if isinstance(cause, UserError | StoppedError):
            return str(cause)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if is_disk_full(error):
        return (
            f"a file could not be written ({first_line(error)}). Free some space or name another place with "
            "hydra.run.dir=FOLDER, then run the command again; earlier runs are untouched."
        )
    if isinstance(error, OSError) and error.errno in _NO_PLACE and error.filename is not None:
        return (
            f"{visible(str(error.filename))}: {(error.strerror or 'no access').lower()}, so nothing can be written or "
            "read there; name another file or folder, or ask for access to this one."
        )
    if type(error).__module__.startswith("omegaconf."):  # not imported here, to keep this module light
        return f"{getattr(error, 'full_key', None) or 'the configuration'}: {first_line(error)}."
    return f"{type(error).__name__}: {first_line(error)}. HYDRA_FULL_ERROR=1 before the command shows the trace."


def is_disk_full(error: BaseException) -> bool:
    """True for the several ways in which libraries report a disk without space or a quota that is used up."""
    signs = ("no space left", "disk quota", "file too large", "failed writing file", "unexpected pos")
    return any(sign in str(cause).lower() for cause in _causes(error) for sign in signs)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    return visible((str(error).strip() or "no message").splitlines()[0].rstrip("."))
