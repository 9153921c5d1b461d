"""TensorBoard: metrics over optimizer steps; configuration, results and sparsities as text."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from winnow.config.run import RunConfig
from winnow.loggers.csv_log import steps_done
from winnow.loggers.run_facts import flat, read_row


class TensorBoardLog(TensorBoardLogger):
    """The log of one run, in ``tensorboard/`` of its folder.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="tensorboard", version="", default_hp_metric=False)
        self.folder = folder

    @rank_zero_only
    def begin(self, config: RunConfig, resumed: bool) -> None:
        if not resumed:
            shutil.rmtree(self.log_dir, ignore_errors=True)
            text = yaml.safe_dump(config.plain(), sort_keys=False)
            self.experiment.add_text("configuration", f"```yaml\n{text}```")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(dict(metrics), steps_done(metrics, step or 0))

    def cut(self, step: int) -> None:
        """Hide what a run logs again that goes on after so many optimizer steps; a due validation it says twice."""
        self.experiment.close()
        self._experiment = None
        self._kwargs["purge_step"] = step + 1

    def save(self) -> None:
        """Lightning would write a file of hyperparameters, of which it knows none."""

    def finalize(self, status: str) -> None:
        """`end` closes the log, once the row of the run is known."""

    @rank_zero_only
    def end(self, status: int) -> None:
        if self._experiment is None:
            return
        row = read_row(self.folder)
        self.experiment.add_text("results", _table(("", "value"), flat(row).items()))
        if by_layer := row.get("sparsity_by_layer"):
            self.experiment.add_text("sparsity by layer", _table(("matrix", "sparsity"), by_layer.items()))
        self.experiment.close()


def _table(header: tuple[str, str], rows: Iterable[tuple[str, Any]]) -> str:
    """A Markdown table of two columns."""
    said = ((name, " ".join(str(value).split()).replace("|", r"\|")) for name, value in rows)
    lines = [header, ("---", "---"), *said]
    return "\n".join(f"| {name} | {value} |" for name, value in lines)
