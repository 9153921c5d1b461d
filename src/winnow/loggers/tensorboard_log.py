"""TensorBoard: metrics over optimizer steps, and the configuration, the result and the sparsities as text."""

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
    """Logs a run to ``tensorboard/`` in its folder."""

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
        """Purge the steps that a run resumed after so many steps logs again; a due validation is logged twice."""
        self.experiment.close()
        self._experiment = None
        self._kwargs["purge_step"] = step + 1

    def save(self) -> None:
        """Nothing: Lightning would write an empty file of hyperparameters."""

    def finalize(self, status: str) -> None:
        """Nothing: `end` closes the log after result.json is written."""

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
    escaped = ((name, " ".join(str(value).split()).replace("|", r"\|")) for name, value in rows)
    lines = [header, ("---", "---"), *escaped]
    return "\n".join(f"| {name} | {value} |" for name, value in lines)
