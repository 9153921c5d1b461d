"""Score the model of a run again, or its deployment: ``evaluate run=outputs/runs/...``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import hydra
from omegaconf import DictConfig

from winnow.config.run import RunConfig, saved_config
from winnow.config.section import Section
from winnow.deployment.engines import check_engine
from winnow.deployment.folder import find_deployment
from winnow.errors import UserError, short_errors
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection
from winnow.files.local_files import local_files, resolve_model_folder
from winnow.files.run_files import read_result
from winnow.hydra_errors import hydra_errors, plain_values
from winnow.reports.run_summary import comparison
from winnow.values import CountOrNull, Expected, Text, TextOrNull

Split = Annotated[Literal["validation", "test"] | None, Expected("validation, test or null")]


class Settings(Section):
    """``conf/evaluate.yaml`` explains each setting."""

    run: Text
    split: Split
    engine: TextOrNull
    batch_size: CountOrNull


def main() -> None:
    with hydra_errors():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="evaluate")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = Settings.read(plain_values(composed))
        folder = Path(settings.run)
        row, config = read_result(folder), saved_config(folder)
        model = resolve_model_folder(str(folder), setting="run")
        local_files(config.task.data)
        work_offline_without_a_connection([config.task.data.path])
        if settings.engine is not None:
            check_engine(settings.engine)
            find_deployment(folder)
        metrics = evaluate_folder(model, config, settings)
        print(comparison(metrics, recorded={"validation": row["metrics"], "test": row["test_metrics"]}))


def evaluate_folder(model: Path, config: RunConfig, settings: Settings) -> dict[str, dict[str, float]]:
    """Metrics of a saved model, or of the deployment beside it, on the data of its run.

    Args:
        model: a folder that ``save_pretrained`` wrote.
        config: of the run.
        settings: the splits, the batch size, and the engine that runs the deployment; without an engine the model
            itself is scored in PyTorch.

    Returns:
        ``{"validation": {metric: value}, "test": {...}}``, only what the run has.
    """
    from transformers import AutoTokenizer  # heavy imports: only once the settings are checked

    from winnow.data.datamodule import TaskData
    from winnow.data.splits import arrange_splits, load_splits
    from winnow.deployment.deployed_model import deployed_model
    from winnow.models.pretrained import load_saved
    from winnow.quiet import limit_kernel_cache, quiet_libraries
    from winnow.tasks.task import build_task
    from winnow.training.evaluation import evaluate

    quiet_libraries()
    limit_kernel_cache()
    task, data = build_task(config.task), config.task.data
    scored: Any = load_saved(model, task) if settings.engine is None else deployed_model(model.parent, settings.engine)
    if settings.engine is not None and scored.sequence_length is not None:
        task.max_length = min(task.max_length, scored.sequence_length)
    splits = arrange_splits(task.prepare(load_splits(data)), data)
    groups = {
        "validation": [name for name in splits if name not in ("train", "test")],
        "test": [name for name in splits if name == "test"],
    }
    wanted = {name: members for name, members in groups.items() if members and settings.split in (None, name)}
    if not wanted:
        raise UserError(f"split={settings.split}: the run has {' and '.join(name for name in groups if groups[name])}.")
    loaded = TaskData(
        task=task,
        splits={name: splits[name] for members in wanted.values() for name in members},
        tokenizer=AutoTokenizer.from_pretrained(model),
        batch_size=data.batch_size,
        eval_batch_size=settings.batch_size or data.eval_batch_size,
    )
    return {name: evaluate(scored, loaded, members) for name, members in wanted.items()}


if __name__ == "__main__":
    main()
