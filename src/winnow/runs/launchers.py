"""Where the jobs of a sweep run: here one after the other, or by a launcher that an extra installs."""

import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from winnow.errors import StoppedError
from winnow.extras import require_extra
from winnow.processes import in_submitit

# Our files in conf/hydra/launcher have the names of the plugins' own settings, by which Hydra also checks them.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")

_GO_ON = "the same command goes on with what is not done, and waits for jobs that live on"
_EXTRAS = {"joblib": "joblib", "submitit": "slurm", "ray": "ray"}  # by the plugin of Hydra that launches


def check_launcher(hydra_config: Any) -> None:
    """Refuse a launcher that is not installed, before it is asked for anything.

    Args:
        hydra_config: the ``hydra`` section of a sweep.
    """
    plugin = re.match(r"hydra_plugins\.hydra_(\w+)_launcher\.", hydra_config.launcher._target_)
    if plugin and plugin[1] in _EXTRAS:
        word = f"hydra/launcher={hydra_config.runtime.choices['hydra/launcher']}"
        require_extra(word, extra=_EXTRAS[plugin[1]], package=f"hydra_plugins.hydra_{plugin[1]}_launcher")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers of each cluster


def runs_beside_others(hydra_config: Any) -> bool:
    """True if the jobs of a sweep may run at the same time; then no one of them has the terminal for itself."""
    return not hydra_config.launcher._target_.startswith("hydra._internal.")


def end_by_sigterm() -> None:
    """Let SIGTERM end this process as an exception does, so that a launcher stops the jobs that are its own."""

    def end(*args: Any) -> None:
        print(f"stopped by SIGTERM; {_GO_ON}.", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)

    signal.signal(signal.SIGTERM, end)


@contextmanager
def unfinished_sweeps() -> Iterator[None]:
    """Around a command: where a sweep ends before its jobs have, what the user can do."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(f"error: interrupted; {_GO_ON}.")
    except SystemExit as ended:
        if type(ended.__context__).__module__.partition(".")[0] in _EXTRAS:
            print(f"error: the launcher gave up, since a job was killed; {_GO_ON}.", file=sys.stderr)
        raise


@contextmanager
def queued_again() -> Iterator[None]:
    """Around a job: one that was stopped in submitit is put into the queue again, and goes on from its checkpoint."""
    queue_again: Any = signal.getsignal(signal.SIGUSR2) if in_submitit() else None
    try:
        yield
    except StoppedError as stop:
        if callable(queue_again) and stop.status == os.EX_TEMPFAIL:  # not by Ctrl-C
            queue_again(signal.SIGUSR2, None)  # submitit's own answer, which ends the process
        raise
