"""Score the model of a run again, or its deployment."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from winnow.config.run import RunConfig
from winnow.data.splits import arrange_splits, load_splits
from winnow.deployment.deployed_model import deployed_model
from winnow.errors import UserError
from winnow.files.json_text import read_json
from winnow.files.token_limit import limit_tokenizer
from winnow.models.pretrained import from_pretrained, load_saved
from winnow.quiet import limit_kernel_cache, quiet_libraries
from winnow.tasks.task import build_task
from winnow.training.evaluation import evaluate
from winnow.training.task_data import TaskData


def evaluate_run(
    model: Path, config: RunConfig, split: str | None, engine: str | None, batch_size: int | None
) -> dict[str, dict[str, float | None]]:
    """Metrics of a saved model, or of the deployment beside it, on the data of its run.

    Args:
        model: a folder that ``save_pretrained`` wrote.
        config: of the run.
        split: ``validation``, ``test`` or None for both.
        engine: runs the deployment; None: the model itself is scored in PyTorch.
        batch_size: None: that of the run.

    Returns:
        ``{"validation": {metric: value}, "test": {...}}``, only what the run has.
    """
    quiet_libraries()
    limit_kernel_cache()
    task, data = build_task(config.task), config.task.data
    task.use_threshold(read_json(model / "config.json"))
    scored: Any = load_saved(model, task) if engine is None else deployed_model(model.parent, engine)
    if engine is not None and scored.sequence_length is not None:
        task.max_length = min(task.max_length, scored.sequence_length)
    tokenizer = from_pretrained(AutoTokenizer, model)
    limit_tokenizer(tokenizer, model)
    splits = arrange_splits(task.prepare(load_splits(data)), data)
    groups = {
        "validation": [name for name in splits if name not in ("train", "test")],
        "test": [name for name in splits if name == "test"],
    }
    wanted = {name: members for name, members in groups.items() if members and split in (None, name)}
    if not wanted:
        raise UserError(f"split={split}: the run has {' and '.join(name for name in groups if groups[name])}.")
    loaded = TaskData(
        task=task,
        splits={name: splits[name] for members in wanted.values() for name in members},
        tokenizer=tokenizer,
        batch_size=data.batch_size,
        eval_batch_size=batch_size or data.eval_batch_size,
    )
    return {name: evaluate(scored, loaded, members) for name, members in wanted.items()}
