"""Data-parallel runs that another run asks for, each a command in a process group of its own.

Lightning starts the other processes of a run by the command line of the first, and they would do all that it says: of a
sweep all jobs, of a run that trains its teacher first that too.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from winnow.config.resolve import fingerprint, resolve
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.files.locks import run_lock
from winnow.files.run_files import CHECKPOINTS, RESULT

_NOT_OF_DENSE = re.compile(r"[+~]*((recipe|teacher|export|hydra)\b|modifier@|resume=)")


def words_of_dense(wanted: str) -> list[str]:
    """The overrides that train the dense teacher of the run that this command is.

    Args:
        wanted: the fingerprint of the dense run.

    Raises:
        UserError: where the command line cannot say it, or something else has started the processes of this run.
    """
    from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment  # heavy

    typed = [word for word in HydraConfig.get().overrides.task if not _NOT_OF_DENSE.match(word)]
    words = [*typed, "recipe=dense", "teacher=none"]
    composed = GlobalHydra.instance().config_loader().load_configuration("train", words, RunMode.RUN)
    if fingerprint(resolve(composed)) != wanted or SLURMEnvironment.detect() or TorchElasticEnvironment.detect():
        raise UserError(
            "teacher=dense: there is no dense run yet, and this data-parallel run cannot train it; "
            "run the same command with recipe=dense first."
        )
    return words


def run_apart(folder: Path, typed: Iterable[str]) -> None:
    """Run a training as a command of its own; what is done of it stays.

    Args:
        folder: of its run.
        typed: the overrides of its command line.

    Raises:
        UserError: if it fails, or another command runs in the folder.
    """
    with run_lock(folder):
        pass  # nobody runs there, such as a group that has outlived its sweep
    resume = str((folder / CHECKPOINTS).is_dir()).lower()
    command = [sys.executable, "-m", "src.train", *typed, f"hydra.run.dir={folder}", f"resume={resume}"]
    path = os.pathsep.join(filter(None, [str(CONF.parent), os.environ.get("PYTHONPATH")]))
    # Within SLURM Lightning would wait for srun to start the others, but for a session that is interactive.
    environment = os.environ | {"PYTHONPATH": path, "SLURM_JOB_NAME": "interactive"}
    process = subprocess.Popen(command, start_new_session=True, env=environment)
    try:
        with _sigterm_raises():
            status = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if status:
        row = json.loads((folder / RESULT).read_text()) if (folder / RESULT).is_file() else {}
        raise UserError(row.get("error") or f"its processes ended with status {status}; see what they said.")


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """SIGTERM becomes a SystemExit, so that what was started can be stopped too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
