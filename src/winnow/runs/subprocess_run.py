"""Data-parallel runs that another run needs, each a command in its own process group.

Lightning starts the other processes of a run with the command line of the first. Within a sweep, or with a dense
teacher to train first, each of them would repeat the whole command.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from winnow.config.fingerprint import fingerprint
from winnow.config.resolve import run_config
from winnow.errors import UserError
from winnow.files.json_text import read_json
from winnow.files.locks import run_lock
from winnow.files.run_files import CHECKPOINTS, RESULT

_PACKAGES = Path(__file__).parents[2]  # the folder that holds the package, which the new process must find too
_NOT_FOR_DENSE = re.compile(r"[+~]*((recipe|teacher|export|hydra)\b|modifier@|resume=)")


def dense_overrides(wanted: str) -> list[str]:
    """The overrides that train the dense teacher of the run of this command.

    Args:
        wanted: fingerprint of the dense run.

    Raises:
        UserError: where no command line gives this run, or another program has started the processes of this one.
    """
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment  # heavy
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    kept = [override for override in HydraConfig.get().overrides.task if not _NOT_FOR_DENSE.match(override)]
    overrides = [*kept, "recipe=dense", "teacher=none"]
    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_configuration("train", [*_search_path(), *overrides], RunMode.RUN)
    if fingerprint(run_config(composed)) != wanted or SLURMEnvironment.detect() or TorchElasticEnvironment.detect():
        raise UserError(
            "teacher=dense: there is no dense run yet, and this data-parallel run cannot train it; "
            "run the same command with recipe=dense first."
        )
    return overrides


def run_in_subprocess(folder: Path, overrides: Iterable[str]) -> None:
    """Run or resume a training as another command, and wait for it.

    Args:
        folder: of its run.
        overrides: of its command line.

    Raises:
        UserError: if it fails, or another command runs in the folder.
    """
    with run_lock(folder):
        pass  # refused while processes that have outlived their sweep still run there
    resume = str((folder / CHECKPOINTS).is_dir()).lower()
    overrides = [override for override in overrides if not override.startswith("resume=")]
    settings = [f"hydra.run.dir={folder}", f"resume={resume}"]
    command = [sys.executable, "-m", "winnow.commands", *_config_dir(), *_search_path(), *overrides, *settings]
    path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    # Within SLURM Lightning would wait for srun to start the others, except in an interactive session.
    environment = os.environ | {"PYTHONPATH": path, "SLURM_JOB_NAME": "interactive"}
    process = subprocess.Popen(command, start_new_session=True, env=environment)
    try:
        status = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if status:
        row = read_json(folder / RESULT) if (folder / RESULT).is_file() else {}
        raise UserError(row.get("error") or f"its processes ended with status {status}; their output says why.")


def _config_dir() -> list[str]:
    """``--config-dir`` of this command, before the overrides: Lightning adds overrides at the end of the command."""
    sources = HydraConfig.get().runtime.config_sources
    folders = [source.path for source in sources if source.provider == "command-line"]
    return ["--config-dir", folders[0]] if folders else []


def _search_path() -> list[str]:
    """``hydra.searchpath=`` of this command; Hydra does not count it among the overrides of a task."""
    return [each for each in HydraConfig.get().overrides.hydra if each.lstrip("+").startswith("hydra.searchpath=")]
