"""metrics.csv of a run, which a resumed run continues."""

import csv
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger

from winnow.config.run import RunConfig
from winnow.files.atomic import write_atomically
from winnow.loggers.history import read_rows


class CSVLog(CSVLogger):
    """A CSVLogger that keeps the existing rows of the run's folder; Lightning's own deletes them."""

    def __init__(self, folder: Path) -> None:
        # After each row, so that a killed run has logged all its steps.
        super().__init__(folder, name="logs", version="", flush_logs_every_n_steps=1)

    @property
    def path(self) -> Path:
        return Path(self.log_dir) / "metrics.csv"

    @property
    @rank_zero_experiment  # only the main process of a data-parallel run writes the file
    def experiment(self) -> Any:
        if self._experiment is not None or not self.path.is_file():
            return super().experiment
        rows = read_rows(self.path)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*exists and is not empty")
            experiment = super().experiment
        experiment.metrics = rows
        experiment.save()
        return experiment

    def begin(self, config: RunConfig, resumed: bool) -> None:
        """Nothing to log: the run folder has the configuration, and no rows unless the run is resumed."""

    def end(self, status: int) -> None:
        """Nothing to close: all rows are written."""

    def cut(self, step: int) -> None:
        """Remove the rows, also of a due validation, that a run resumed after so many optimizer steps logs again."""
        if not self.path.is_file():
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.experiment.metrics_keys)
        writer.writeheader()
        writer.writerows(row for row in read_rows(self.path) if not _is_logged_again(row, step))
        write_atomically(self.path, text.getvalue())


def steps_done(metrics: Mapping[str, Any], step: int) -> int:
    """Finished optimizer steps when metrics were logged.

    Lightning's metrics, which have an ``epoch``, give the index of the current step; those of modifiers the finished
    steps.
    """
    return step + ("epoch" in metrics)


def _is_logged_again(row: dict[str, str], step: int) -> bool:
    done = steps_done(row, int(row["step"]))
    return done > step or (done == step and any(name.startswith("val/") for name in row))
