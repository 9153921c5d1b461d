"""Evaluate the model of a run again, or its deployment: ``evaluate run=outputs/runs/...``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import hydra
from omegaconf import DictConfig

from winnow.commands.hydra_errors import hydra_errors
from winnow.config.composed import plain_values
from winnow.config.run import saved_config
from winnow.config.section import Section
from winnow.config.task import check_shipped
from winnow.deployment.engines import CHOICES, check_deployed, check_engine
from winnow.deployment.folder import find_deployment
from winnow.errors import short_errors
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection
from winnow.files.local_files import local_files, resolve_model_folder
from winnow.files.run_files import read_result
from winnow.plain_arguments import decoded, encoded
from winnow.reports.run_summary import comparison
from winnow.values import CountOrNull, Expected, Text, TextOrNull

_AS_TYPED = ("run",)  # read literally: Hydra's grammar does not apply

Split = Annotated[Literal["validation", "test"] | None, Expected("validation, test or null")]


class Settings(Section):
    """``conf/evaluate.yaml`` explains each setting."""

    run: Text
    split: Split
    engine: TextOrNull
    batch_size: CountOrNull


def main() -> None:
    sys.argv[1:] = encoded(sys.argv[1:], _AS_TYPED)
    with hydra_errors():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="evaluate")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = Settings.read(decoded(plain_values(composed), _AS_TYPED))
        folder = Path(settings.run)
        row, config = read_result(folder), saved_config(folder)
        check_shipped(config.task)
        model = resolve_model_folder(str(folder), setting="run")
        local_files(config.task.data)
        work_offline_without_a_connection([config.task.data.path])
        if settings.engine is not None:
            check_engine(settings.engine, choices=CHOICES)
            check_deployed(find_deployment(folder), settings.engine)
        from winnow.runs.rescoring import evaluate_run  # heavy: only once the settings are checked

        metrics = evaluate_run(model, config, settings.split, settings.engine, settings.batch_size)
        recorded = {"validation": row["metrics"], "test": row["test_metrics"]}
        print(comparison(metrics, recorded, settings.engine or "PyTorch"))
