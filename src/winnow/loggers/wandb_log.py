"""Weights & Biases: one W&B run for each run, with its configuration, metrics, result and deployment."""

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
from winnow.loggers.run_facts import deployment_files, flat, group_of, name_of, read_row

STEP = "step"  # finished optimizer steps, the horizontal axis of all charts

# Send only what is logged: nothing about the machine, the packages, the code or the terminal. With logger.system=true
# W&B samples the load of the machine.
_QUIET: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 1.0,  # seconds of rows that a killed run may lose
}


class WandbLog(Logger):
    """Logs a run; ``wandb/state.json`` in its folder has the id for resuming and the last logged steps.

    Args:
        folder: of the run.
        settings: project, entity, offline and system.
    """

    def __init__(self, folder: Path, settings: LoggerSettings) -> None:
        super().__init__()
        self.folder = folder
        self.settings = settings
        self._run: Any = None
        self._state: dict[str, Any] = {}
        self._before: dict[str, int] = {}  # last step of each kind of row before the run was resumed

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
        """Open the W&B run, the earlier one if the run is resumed."""
        if not resumed:
            shutil.rmtree(self.folder / "wandb", ignore_errors=True)
        self._state = read_state(self._state_file) or {"id": secrets.token_hex(4), "steps": {}}
        self._before = dict(self._state["steps"])
        self._run = open_run(
            self.folder,
            self.settings,
            name=name_of(self.folder, config),
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
        """Nothing: sent rows cannot be removed, so `log_metrics` skips the rows that a resumed run repeats."""

    @rank_zero_only
    def end(self, status: int) -> None:
        """Log result.json and the deployment, and close the W&B run with the exit status."""
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
    """A W&B run whose files are in a folder; offline if W&B cannot be reached. Print its address.

    Args:
        folder: of the run or the sweep.
        settings: project, entity, offline, system.
        facts: other arguments of `wandb.init`.
    """
    import wandb

    choices = {**_QUIET, "x_disable_stats": not settings.system}
    quiet = wandb.Settings(**{name: value for name, value in choices.items() if name in wandb.Settings.model_fields})
    wandb.setup(quiet)
    folder = folder.absolute()
    names = {"dir": str(folder), "project": settings.project, "entity": settings.entity}
    options = {**names, **facts, "settings": quiet, "resume": "allow", "reinit": "create_new"}
    obstacle = "logger.offline=true" if settings.offline else _obstacle(wandb)
    if obstacle is None:
        try:
            run = wandb.init(**options, mode="online")
            print(f"W&B: {run.url}", flush=True)
            return run
        except wandb.errors.Error as error:
            obstacle = str(error).splitlines()[0]
    print(f"W&B logs offline ({obstacle}); to upload later: wandb sync {folder}/wandb/offline-run-*", flush=True)
    return wandb.init(**options, mode="offline")


def log_table(run: Any, name: str, header: Sequence[str], rows: Sequence[Any]) -> None:
    import wandb

    run.log({name: wandb.Table(columns=list(header), data=[list(row) for row in rows], allow_mixed_types=True)})


def _obstacle(wandb: Any) -> str | None:
    """Why W&B cannot be reached, or None; never prompts for an account."""
    if os.environ.get("WANDB_MODE", "online") not in ("online", "shared"):
        return f"WANDB_MODE={os.environ['WANDB_MODE']}"
    try:
        if not wandb.login(prompt=False, verify=False):
            return "no account is configured; run: wandb login"
    except wandb.errors.Error as error:
        return str(error).splitlines()[0]
    address = wandb.setup().settings.base_url
    return None if is_reachable(address) else f"{address} cannot be reached"


def _log_deployment(run: Any, files: Sequence[Path], facts: Mapping[str, Any]) -> None:
    import wandb

    artifact = wandb.Artifact(f"deployment-{run.id}", type="model", metadata=flat(facts))
    for path in files:
        artifact.add_file(str(path), name=path.name, policy="immutable", skip_cache=True)  # uploaded without a copy
    run.log_artifact(artifact)


def read_state(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None
