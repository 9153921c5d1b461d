"""Plugins of sweeps, each installed by an extra: launchers, which run jobs, and sweepers, which choose them."""

import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from winnow.errors import StoppedError, UserError
from winnow.extras import require_extra
from winnow.processes import in_submitit
from winnow.values import Count, check_value

# Files in conf/hydra/launcher have the names of the plugins' schemas; Hydra warns that it validates them by these.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")

_CONTINUE = "run the same command again to finish the sweep; it waits for jobs that are still running"
_EXTRAS = {"joblib": "joblib", "submitit": "slurm", "ray": "ray", "optuna": "optuna"}  # by the plugin of Hydra


def check_plugins(hydra_config: Any) -> None:
    """Refuse a launcher or a sweeper whose package is not installed.

    Args:
        hydra_config: the ``hydra`` section of a sweep.
    """
    for kind in ("launcher", "sweeper"):
        plugin = re.match(rf"(hydra_plugins\.hydra_(\w+)_{kind})\.", getattr(hydra_config, kind)._target_)
        if plugin and plugin[2] in _EXTRAS:
            option = f"hydra/{kind}={hydra_config.runtime.choices[f'hydra/{kind}']}"
            require_extra(option, extra=_EXTRAS[plugin[2]], package=plugin[1])
    _check_search(hydra_config)


def _check_search(hydra_config: Any) -> None:
    sweeper = hydra_config.sweeper
    if sweeper._target_.startswith("hydra._internal."):
        return
    if "optuna" not in sweeper._target_:
        choice = hydra_config.runtime.choices["hydra/sweeper"]
        raise UserError(f"hydra/sweeper={choice}: Winnow searches by Optuna; choose hydra/sweeper=search.")
    check_value("hydra.sweeper.n_trials", Count, sweeper.n_trials)
    if str(sweeper.direction).rpartition(".")[2] != "maximize":
        raise UserError(
            "hydra.sweeper.direction must be maximize, since jobs return scores; hydra/sweeper=search sets it."
        )


def runs_beside_others(hydra_config: Any) -> bool:
    """True if the jobs of a sweep may run at the same time, so their output is mixed in one terminal."""
    return not hydra_config.launcher._target_.startswith("hydra._internal.")


@contextmanager
def unfinished_sweeps() -> Iterator[None]:
    """Around a command: print how to continue a sweep that ended before its jobs did."""
    try:
        yield
    except SystemExit as ended:
        if type(ended.__context__).__module__.partition(".")[0] in _EXTRAS:
            print(f"error: the launcher stopped because a job was killed; {_CONTINUE}.", file=sys.stderr)
        raise


@contextmanager
def requeued() -> Iterator[None]:
    """Around a job: requeue one that submitit stopped; it resumes from its checkpoint."""
    requeue: Any = signal.getsignal(signal.SIGUSR2) if in_submitit() else None
    try:
        yield
    except StoppedError as stop:
        if callable(requeue) and stop.status == os.EX_TEMPFAIL:  # Ctrl-C has another status
            requeue(signal.SIGUSR2, None)  # the handler of submitit; it ends the process
        raise
