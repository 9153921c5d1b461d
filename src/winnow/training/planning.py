"""The plan of a training, from its configuration and the size of its data."""

from typing import Any

from winnow.config.run import RunConfig
from winnow.data.batching import LengthGroupedBatches
from winnow.data.splits import arrange_splits, load_splits, unlabeled_rows
from winnow.errors import UserError
from winnow.files.local_files import local_files
from winnow.models.pretrained import load_tokenizer
from winnow.models.shapes import configuration, shape_of
from winnow.models.text_length import check_lengths, limit_length
from winnow.modifiers.clock import recipe_clock
from winnow.modifiers.rehearsal import (
    parameter_counts,
    planned_costs,
    planned_curves,
    planned_events,
    planned_matches,
    planned_zeros,
    rehearse,
)
from winnow.tasks.task import Task, build_task
from winnow.training.speed import planned_speed
from winnow.training.trainer import processes


def make_plan(config: RunConfig) -> dict[str, Any]:
    """The events of a run, the parameters that each modifier acts on, and the size of the model before and after.

    The size after the run is that before heads and neurons are removed, which are not known yet.

    Args:
        config: of the run.
    """
    task = build_task(config.task)
    examples, source = training_examples(config, task)
    data = config.task.data
    batches = LengthGroupedBatches(
        [0] * examples,
        data.batch_size,
        seed=0,
        world_size=processes(config.trainer),
        drop_last=data.drop_last,
    )
    clock = recipe_clock(len(batches), config.recipe.num_epochs, config.trainer)
    model = shape_of(config.model, task)
    check_lengths(config, model.config)
    before = parameter_counts(model)
    modifiers = rehearse(config.recipe, model, clock)
    return {
        "task": config.task.name,
        "model": config.model.name,
        "recipe": config.recipe.name,
        "teacher": config.teacher.label,
        "dense_epochs": config.dense.num_epochs if config.teacher.kind == "dense" else 0,
        "examples": examples,
        "examples_source": source,
        "batch_size": data.batch_size,
        "num_epochs": config.recipe.num_epochs,
        "steps_per_epoch": clock.steps_per_epoch,
        "total_steps": clock.total_steps,
        "events": planned_events(modifiers),
        "matches": planned_matches(modifiers),
        "costs": planned_costs(modifiers),
        "speed": planned_speed(modifiers, task, config, clock),
        "parameters": {"before": before, "after": parameter_counts(model), "zeros": planned_zeros(modifiers)},
        "curves": planned_curves(modifiers),
    }


def training_examples(config: RunConfig, task: Task) -> tuple[int, str]:
    """Examples of an epoch (each window of a long text is one), and the source of the number.

    Local and generated data are counted, which also gives the task its labels; of hub data the published size is taken.
    """

    data = config.task.data
    if data.generator or local_files(data):
        train = arrange_splits(task.prepare(load_splits(data, unlabeled=True)), data)["train"]
        try:
            tokenizer = load_tokenizer(config.model, **task.tokenizer_options)
        except UserError:
            return len(train), "rows of the data; the tokenizer is out of reach, so windows are not counted"
        limit_length(tokenizer, config, configuration(config.model))
        return len(task.encode(train, tokenizer, training=True)), "counted"
    published = data.published
    if published.examples is None:
        raise UserError(
            f"a plan of task={task.name} needs its data: name a local folder with task.data.path=FOLDER, "
            "or files with task.data.files.train=FILE."
        )
    task.labels = [f"LABEL_{i}" for i in range(published.labels or 0)]
    labelled = min(published.examples, data.max_train_samples or published.examples)
    return labelled + len(unlabeled_rows(data)), "published"
