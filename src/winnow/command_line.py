"""Command lines as the user types them: ``winnow train ...`` or ``python -m src.train ...``."""

import json
import os
import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

SWEEP_PLAN = "sweep.json"  # in the folder of a sweep
_CONSOLE = "WINNOW_CONSOLE"  # an environment variable, so the processes that a command starts print the same names


def use_console_names() -> None:
    """Print every command as ``winnow WORD``, in this process and in those that it starts."""
    os.environ[_CONSOLE] = "1"


def command_line(word: str, *arguments: str) -> str:
    """A command that the user can paste, e.g. ``winnow evaluate run=outputs/...``."""
    program = ["winnow", word] if os.environ.get(_CONSOLE) else ["python", "-m", f"src.{word}"]
    return shlex.join([*program, *arguments])


def training_command() -> str:
    """The command line of this training; for a job of a sweep the job's own."""
    return command_line("train", *(HydraConfig.get().overrides.task if _in_sweep() else sys.argv[1:]))


def resuming_command() -> str:
    """The command that resumes the run of this process; for a job of a sweep the command of the sweep."""
    if _in_sweep():  # the process of a job may have the arguments of its launcher
        plan = json.loads((Path(HydraConfig.get().sweep.dir) / SWEEP_PLAN).read_text())
        return str(plan["command"])
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("resume=")]
    return command_line("train", *arguments, "resume=true")


def _in_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
