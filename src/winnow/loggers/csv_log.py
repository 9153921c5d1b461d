"""metrics.csv of a run, also of one that was killed and resumed."""

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
    """A CSVLogger that keeps the rows it finds; Lightning's own deletes them.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        # Written at once: a killed run has logged what it has done.
        super().__init__(folder, name="logs", version="", flush_logs_every_n_steps=1)

    @property
    def path(self) -> Path:
        return Path(self.log_dir) / "metrics.csv"

    @property
    @rank_zero_experiment  # the other processes of a data-parallel run leave the file alone
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
        """The configuration lies in the run folder, and earlier rows have been removed where a run starts anew."""

    def end(self, status: int) -> None:
        """All rows are written."""

    def cut(self, step: int) -> None:
        """Leave out what a run logs again that goes on after so many optimizer steps, a due validation too."""
        if not self.path.is_file():
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.experiment.metrics_keys)
        writer.writeheader()
        writer.writerows(row for row in read_rows(self.path) if not _comes_again(row, step))
        write_atomically(self.path, text.getvalue())


def steps_done(metrics: Mapping[str, Any], step: int) -> int:
    """Optimizer steps that had been done when metrics were logged.

    Lightning counts the step that it is in, and adds the epoch; modifiers count the steps done.
    """
    return step + ("epoch" in metrics)


def _comes_again(row: dict[str, str], step: int) -> bool:
    done = steps_done(row, int(row["step"]))
    return done > step or (done == step and any(name.startswith("val/") for name in row))
