"""Command lines as the user types them: ``winnow train ...`` or ``python -m src.train ...``."""

import json
import os
import shlex
import sys
from pathlib import Path

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
    from hydra.core.hydra_config import HydraConfig  # heavy: commands print names before they import Hydra
    from hydra.types import RunMode

    in_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return command_line("train", *(HydraConfig.get().overrides.task if in_sweep else sys.argv[1:]))


def resuming_command() -> str:
    """The command that resumes the training of this process; a sweep is resumed by the same command."""
    arguments = sys.argv[1:]
    if {"-m", "--multirun"}.isdisjoint(arguments):
        arguments = [*(each for each in arguments if not each.startswith("resume=")), "resume=true"]
    return command_line("train", *arguments)


def sweep_command(folder: Path) -> str:
    """The command of the sweep in a folder; the process of a job may have the arguments of its launcher."""
    return str(json.loads((folder / SWEEP_PLAN).read_text())["command"])
