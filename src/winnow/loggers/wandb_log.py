"""Weights & Biases: a run of ours is a run there, with its configuration, metrics, results table and deployment."""

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from winnow.config.outputs import Logger as LoggerSettings
from winnow.config.run import RunConfig
from winnow.files.atomic import write_atomically
from winnow.files.hub import is_reachable
from winnow.loggers.csv_log import steps_done
from winnow.loggers.run_facts import deployment_files, flat, group_of, read_row

STEP = "step"  # optimizer steps done; what the charts are drawn over

# Only what was asked for is sent: nothing about the machine, the packages, the code, the terminal.
_QUIET: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 1.0,  # seconds of rows that a killed run may lose
}


class WandbLog(Logger):
    """The log of one run. It keeps in ``wandb/`` of the run folder under which id it goes on, and what it has logged.

    Args:
        folder: of the run.
        settings: project, entity and offline.
    """

    def __init__(self, folder: Path, settings: LoggerSettings) -> None:
        super().__init__()
        self.folder = folder
        self.settings = settings
        self._run: Any = None
        self._state: dict[str, Any] = {}
        self._before: dict[str, int] = {}  # the last step of each kind of row that the run logged before it was killed

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def version(self) -> str | None:
        return self._state.get("id")

    @property
    def _state_file(self) -> Path:
        return self.folder / "wandb" / "state.json"

    @rank_zero_only
    def begin(self, config: RunConfig, resumed: bool) -> None:
        """Open the run, that of before where it goes on."""
        if not resumed:
            shutil.rmtree(self.folder / "wandb", ignore_errors=True)
        self._state = read_state(self._state_file) or {"id": secrets.token_hex(4), "steps": {}}
        self._before = dict(self._state["steps"])
        self._run = open_run(
            self.folder,
            self.settings,
            id=self._state["id"],
            group=group_of(self.folder),
            job_type=config.recipe.name,
            config=config.plain(),
        )
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        done, kind = steps_done(metrics, step or 0), next(iter(metrics))
        if done > self._before.get(kind, -1):
            self._run.log({**metrics, STEP: done})
            self._state["steps"][kind] = done
            write_atomically(self._state_file, json.dumps(self._state))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """`begin` has logged the configuration."""

    def cut(self, step: int) -> None:
        """Rows that a resumed run repeats are left out as they come; nothing that was sent can be taken back."""

    @rank_zero_only
    def end(self, status: int) -> None:
        """Log the row of the run and its deployment, and close it with an exit status."""
        if self._run is None:
            return
        run, self._run = self._run, None
        row = read_row(self.folder)
        facts = flat(row)
        run.summary.update(facts)
        log_table(run, "results", list(facts), [list(facts.values())])
        if by_layer := row.get("sparsity_by_layer"):
            log_table(run, "sparsity_by_layer", ["matrix", "sparsity"], [list(pair) for pair in by_layer.items()])
        if files := deployment_files(self.folder):
            _log_deployment(run, files, row["deployment"])
        run.finish(exit_code=status)


def open_run(folder: Path, settings: LoggerSettings, **facts: Any) -> Any:
    """A W&B run whose files lie in a folder, after whose name it is called; offline where W&B is out of reach.

    Args:
        folder: of the run or the sweep.
        settings: project, entity, offline.
        facts: what else `wandb.init` is told.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when wandb is imported
    import wandb

    quiet = wandb.Settings(**{name: value for name, value in _QUIET.items() if name in wandb.Settings.model_fields})
    wandb.setup(quiet)
    folder = folder.absolute()
    names = {"name": folder.name, "dir": str(folder), "project": settings.project, "entity": settings.entity}
    options = {**names, **facts, "settings": quiet, "resume": "allow", "reinit": "create_new"}
    obstacle = "logger.offline=true" if settings.offline else _obstacle(wandb)
    if obstacle is None:
        try:
            return wandb.init(**options, mode="online")
        except wandb.errors.Error as error:
            obstacle = str(error).splitlines()[0]
    print(f"W&B works offline ({obstacle}); later: wandb sync {folder}/wandb/offline-run-*", flush=True)
    return wandb.init(**options, mode="offline")


def log_table(run: Any, name: str, header: Sequence[str], rows: Sequence[Any]) -> None:
    import wandb

    run.log({name: wandb.Table(columns=list(header), data=[list(row) for row in rows], allow_mixed_types=True)})


def _obstacle(wandb: Any) -> str | None:
    """Why W&B cannot be written to from here, or None; nobody is asked for anything."""
    if os.environ.get("WANDB_MODE", "online") not in ("online", "shared"):
        return f"WANDB_MODE={os.environ['WANDB_MODE']}"
    try:
        if not wandb.login(prompt=False, verify=False):
            return "no account is known here: wandb login"
    except wandb.errors.Error as error:
        return str(error).splitlines()[0]
    address = wandb.setup().settings.base_url
    return None if is_reachable(address) else f"{address} is out of reach"


def _log_deployment(run: Any, files: Sequence[Path], facts: Mapping[str, Any]) -> None:
    import wandb

    artifact = wandb.Artifact(f"deployment-{run.id}", type="model", metadata=flat(facts))
    for path in files:
        artifact.add_file(str(path), name=path.name, policy="immutable", skip_cache=True)  # sent from where it lies
    run.log_artifact(artifact)


def read_state(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None
