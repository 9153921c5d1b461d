"""Score the model of a run again, or its deployment: ``python -m src.evaluate run=outputs/runs/...``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from winnow.config.resolve import resolve
from winnow.deployment.engines import check_engine
from winnow.deployment.folder import find_deployment
from winnow.errors import UserError, nearest_names, short_errors
from winnow.files.conf_folder import CONF
from winnow.files.hub import work_offline_without_a_connection
from winnow.files.local_files import local_files, resolve_model_folder
from winnow.files.run_files import read_config, read_result
from winnow.quiet import limit_kernel_cache
from winnow.reports.run_summary import comparison


def main() -> None:
    with nearest_names():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="evaluate")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = resolve(composed)
        folder = Path(settings["run"])
        row, config = read_result(folder), read_config(folder)
        model = resolve_model_folder(str(folder), setting="run")
        local_files(config["task"]["data"])
        work_offline_without_a_connection({**config, "model": {"name": str(model), "config": None}})
        if settings["engine"] is not None:
            check_engine(settings["engine"])
            find_deployment(folder)
        if settings["batch_size"] is not None:
            config["task"]["data"]["eval_batch_size"] = settings["batch_size"]
        metrics = evaluate_folder(model, config, settings["split"], settings["engine"])
        print(comparison(metrics, recorded={"validation": row["metrics"], "test": row["test_metrics"]}))


def evaluate_folder(
    model: Path, config: Mapping[str, Any], split: str | None, engine: str | None = None
) -> dict[str, dict[str, float]]:
    """Metrics of a saved model, or of the deployment beside it, on the data of its run.

    Args:
        model: a folder that ``save_pretrained`` wrote.
        config: of the run.
        split: ``validation``, ``test`` or None for both.
        engine: that runs the deployment; None for the model itself in PyTorch.

    Returns:
        ``{"validation": {metric: value}, "test": {...}}``, only what the run has.
    """
    from transformers import AutoTokenizer

    from winnow.data.datamodule import TaskData
    from winnow.data.splits import arrange_splits, load_splits
    from winnow.deployment.deployed_model import deployed_model
    from winnow.models.pretrained import load_saved
    from winnow.quiet import quiet_libraries
    from winnow.training.evaluation import evaluate

    quiet_libraries()
    limit_kernel_cache()
    task = hydra.utils.instantiate(config["task"], _convert_="all")
    scored: Any = load_saved(model, task) if engine is None else deployed_model(model.parent, engine)
    if engine is not None and scored.sequence_length is not None:
        task.max_length = min(task.max_length, scored.sequence_length)
    splits = arrange_splits(task.prepare(load_splits(config["task"]["data"])), config["task"]["data"])
    groups = {
        "validation": [name for name in splits if name not in ("train", "test")],
        "test": [name for name in splits if name == "test"],
    }
    wanted = {name: members for name, members in groups.items() if members and split in (None, name)}
    if not wanted:
        raise UserError(f"split={split}: the run has {' and '.join(name for name in groups if groups[name])}.")
    data = TaskData(
        task=task,
        splits={name: splits[name] for members in wanted.values() for name in members},
        tokenizer=AutoTokenizer.from_pretrained(model),
        batch_size=config["task"]["data"]["batch_size"],
        eval_batch_size=config["task"]["data"]["eval_batch_size"],
    )
    return {name: evaluate(scored, data, members) for name, members in wanted.items()}


if __name__ == "__main__":
    main()
