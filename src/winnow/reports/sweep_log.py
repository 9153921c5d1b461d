"""The tables of a sweep in W&B, if the metrics of its jobs are logged there."""

import json
import secrets
from pathlib import Path

from winnow.config.outputs import Logger
from winnow.errors import describe
from winnow.files.atomic import write_atomically
from winnow.reports.plain_tables import group_table, run_table
from winnow.reports.results import collect


def log_sweep(settings: Logger, folder: Path) -> None:
    """With ``logger=wandb`` log the tables as one more run in the sweep's group, the same one if it is resumed.

    A failure is printed and does not fail the sweep.

    Args:
        settings: the ``logger`` section.
        folder: of the sweep.
    """
    if settings.kind != "wandb":
        return
    try:
        from winnow.loggers.wandb_log import log_table, open_run, read_state  # heavy

        results = collect([folder])
        state = folder / "wandb" / "state.json"
        known = read_state(state) or {"id": secrets.token_hex(4)}
        write_atomically(state, json.dumps(known))
        run = open_run(folder, settings, id=known["id"], group=folder.name, job_type="sweep", config={})
        log_table(run, "results", *group_table(results))
        log_table(run, "runs", *run_table(results))
        run.finish()
    except Exception as error:
        print(f"note: the tables of the sweep could not be logged to W&B: {describe(error)}")
