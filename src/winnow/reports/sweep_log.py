"""The report of a sweep in W&B, if the metrics of its jobs are logged there."""

import json
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from winnow.config.outputs import Logger
from winnow.errors import describe
from winnow.files.atomic import write_atomically
from winnow.reports.plain_tables import group_table, run_table
from winnow.reports.results import Results
from winnow.reports.tables import tables


def log_sweep(settings: Logger, folder: Path, results: Results, files: Sequence[Path]) -> None:
    """With ``logger=wandb`` log the report as one more run in the sweep's group, the same one if it is resumed.

    A failure is printed and does not fail the sweep.

    Args:
        settings: the ``logger`` section.
        folder: of the sweep.
        results: of its report, whose tables are logged in plain figures, and as they are read.
        files: of its report, whose page and pictures are logged.
    """
    if settings.kind != "wandb":
        return
    try:
        import wandb

        from winnow.loggers.wandb_log import log_table, open_run, read_state  # heavy

        state = folder / "wandb" / "state.json"
        known = read_state(state) or {"id": secrets.token_hex(4)}
        write_atomically(state, json.dumps(known))
        names = {"name": folder.name, "group": folder.name, "job_type": "sweep"}
        run = open_run(folder, settings, id=known["id"], config={}, **names)
        log_table(run, "results", *group_table(results))
        log_table(run, "runs", *run_table(results))
        for table in tables(results):
            texts = [[cell.text for cell in line.cells] for line in table.lines]
            log_table(run, f"report/{re.sub(r'[^a-zA-Z0-9_.-]+', '_', table.title)}", table.columns, texts)
        run.log({f"report/{path.stem}": wandb.Image(str(path)) for path in files if path.suffix == ".png"})
        (page,) = (path.read_text() for path in files if path.suffix == ".html")
        run.log({"report/page": wandb.Html(page, inject=False)})
        run.finish()
    except Exception as error:
        print(f"note: the report of the sweep could not be logged to W&B: {describe(error)}")
