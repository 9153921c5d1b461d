"""A user's mistake: one short message, exit status 1, never a stack trace."""

import difflib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException


class UserError(ValueError):
    """What is wrong, the value, and the remedy, in one or two sentences."""


class StoppedError(UserError):
    """A run that was stopped from outside and can go on.

    Args:
        status: with which the command exits.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean X?' where one of the known names is close to ``name``, else an empty string.

    Of names that are equally close it is the first in order: prune8O may be prune80 or prune83.
    """
    likeness = {each: difflib.SequenceMatcher(None, each, name).ratio() for each in sorted(known)}
    best = max(likeness, key=likeness.__getitem__, default="")
    return f" Did you mean '{best}'?" if likeness.get(best, 0) >= 0.6 else ""


@contextmanager
def nearest_names() -> Iterator[None]:
    """Around a command: after what Hydra says of a mistyped word the nearest, of one that it cannot read that word."""
    try:
        yield
    except SystemExit as ended:
        error, hint = ended.__context__, ""
        if isinstance(error, MissingConfigException):
            hint = nearest(Path(error.missing_cfg_file or "").name, error.options or ())
        elif isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
            hint = _nearest_setting(error.__cause__)
        elif isinstance(error, OverrideParseException):
            hint = f"'{error.override}' is no name=value; lists have no blanks, brackets need quotes: 'name=[a,b]'."
        print(hint.strip(), file=sys.stderr, end="\n" if hint else "")
        raise


def _nearest_setting(error: OmegaConfBaseException) -> str:
    if error.parent_node is None:
        return ""
    config, typed = OmegaConf.to_container(error.parent_node._get_root(), resolve=False), str(error.full_key)
    paths = (path for path in _settings(config) if not path.startswith("hydra."))
    return nearest(typed, (path for path in paths if nearest(_last(typed), [_last(path)])))


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _settings(section: Any, before: str = "") -> Iterator[str]:
    """The full names of all settings of a configuration."""
    for name, value in section.items():
        yield f"{before}{name}"
        if isinstance(value, dict):
            yield from _settings(value, f"{before}{name}.")


def wants_traces() -> bool:
    """True where HYDRA_FULL_ERROR=1 asks for the trace of an error."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


@contextmanager
def short_errors() -> Iterator[None]:
    """Print an error as one message and exit with status 1; HYDRA_FULL_ERROR=1 shows the trace instead."""
    try:
        yield
    except BrokenPipeError:  # whoever reads the output has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
    except StoppedError as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.status)
    except Exception as error:
        if wants_traces():
            raise
        sys.exit(f"error: {describe(error)}")


def describe(error: BaseException) -> str:
    """The message for a person: our own as it stands, any other with its type and how to see more."""
    for cause in _causes(error):  # a constructor's error arrives wrapped
        if isinstance(cause, UserError):
            return str(cause)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if is_disk_full(error):
        return (
            f"a file could not be written ({_first_line(error)}). Free some space or name another place with "
            "hydra.run.dir=FOLDER, then run the command again; earlier runs are untouched."
        )
    return f"{type(error).__name__}: {_first_line(error)}. HYDRA_FULL_ERROR=1 before the command shows the trace."


def is_disk_full(error: BaseException) -> bool:
    """True for the several ways in which libraries report a disk without space or a quota that is used up."""
    signs = ("no space left", "disk quota", "file too large", "failed writing file", "unexpected pos")
    return any(sign in str(cause).lower() for cause in _causes(error) for sign in signs)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "no message").splitlines()[0].rstrip(".")
