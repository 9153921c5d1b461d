"""The tables of a sweep, logged where the metrics of its jobs are."""

import json
import secrets
from pathlib import Path

from winnow.config.outputs import Logger
from winnow.errors import describe
from winnow.files.atomic import write_atomically
from winnow.reports.plain_tables import run_table, table
from winnow.reports.results import collect


def log_sweep(settings: Logger, folder: Path) -> None:
    """The tables of a sweep go where the metrics of its jobs went, if that is a place for tables.

    Args:
        settings: the ``logger`` section.
        folder: of the sweep.
    """
    if settings.kind == "wandb":
        try:
            _log_tables(folder, settings)
        except Exception as error:
            print(f"note: the tables of the sweep are not in W&B: {describe(error)}")


def _log_tables(folder: Path, settings: Logger) -> None:
    """The tables of a sweep, ``results`` with a line a configuration and ``runs`` with one a run, as a run of its own
    in the sweep's group; the same one whenever the sweep goes on.

    Args:
        folder: of the sweep.
        settings: the ``logger`` section.
    """
    from winnow.loggers.wandb_log import log_table, open_run, read_state  # heavy

    results = collect([folder])
    state = folder / "wandb" / "state.json"
    known = read_state(state) or {"id": secrets.token_hex(4)}
    write_atomically(state, json.dumps(known))
    run = open_run(folder, settings, id=known["id"], group=folder.name, job_type="sweep", config={})
    log_table(run, "results", *table(results))
    log_table(run, "runs", *run_table(results))
    run.finish()
