"""What a recipe would do, step by step, without training: ``python -m src.plan task=squad recipe=prune80``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from src.checks import check, check_known
from src.config import resolve
from src.errors import UserError, nearest_names, short_errors
from src.hub import work_offline_without_a_connection
from src.local_files import local_files
from src.whole_files import write_atomically


@hydra.main(version_base="1.3", config_path="../conf", config_name="plan")
def main(composed: DictConfig) -> None:
    with short_errors():
        config = resolve(composed)
        options = config.pop("plan")
        check_known("plan", options, ("json", "picture", "all"))
        check(config)
        work_offline_without_a_connection(config)
        from src.quiet import quiet_libraries
        from src.reports.plan import draw_plan, plan_text

        quiet_libraries()
        if "translation" in config:
            print(config["translation"]["report"] + "\n")
        plan = make_plan(config)
        curves = plan.pop("curves")
        if options["picture"]:
            draw_plan(curves, plan, Path(options["picture"]))
        if options["json"]:
            write_atomically(Path(options["json"]), json.dumps(plan, indent=2) + "\n")
        print(plan_text(plan, every_event=options["all"]))
        for kind in ("picture", "json"):
            if options[kind]:
                print(f"{kind:8} {options[kind]}")


def make_plan(config: Mapping[str, Any]) -> dict[str, Any]:
    """The events of a run, the parameters that each modifier acts on, and what is left of the model.

    Args:
        config: as `src.config.resolve` returns it, checked.
    """
    from src.data.batching import LengthGroupedBatches
    from src.models.shapes import shape_of
    from src.models.trainer import processes
    from src.modifiers.clock import recipe_clock
    from src.modifiers.plan import (
        parameter_counts,
        planned_curves,
        planned_events,
        planned_matches,
        planned_zeros,
        rehearse,
    )

    task = hydra.utils.instantiate(config["task"], _convert_="all")
    examples, source = training_examples(config, task)
    data = config["task"]["data"]
    batches = LengthGroupedBatches(
        [0] * examples,
        data["batch_size"],
        seed=0,
        world_size=processes(config["trainer"]),
        drop_last=data["drop_last"],
    )
    clock = recipe_clock(len(batches), config["recipe"]["num_epochs"], config["trainer"])
    model = shape_of(config["model"], task)
    before = parameter_counts(model)
    modifiers = rehearse(config["recipe"], model, clock)
    return {
        **{word: config[word]["name"] for word in ("task", "model", "recipe")},
        "teacher": config["teacher"].get("name", config["teacher"]["kind"]),
        "dense_epochs": config["dense"]["num_epochs"] if config["teacher"]["kind"] == "dense" else 0,
        "examples": examples,
        "examples_source": source,
        "batch_size": data["batch_size"],
        "num_epochs": config["recipe"]["num_epochs"],
        "steps_per_epoch": clock.steps_per_epoch,
        "total_steps": clock.total_steps,
        "events": planned_events(modifiers),
        "matches": planned_matches(modifiers),
        "parameters": {"before": before, "after": parameter_counts(model), "zeros": planned_zeros(modifiers)},
        "curves": planned_curves(modifiers),
    }


def training_examples(config: Mapping[str, Any], task: Any) -> tuple[int, str]:
    """How many examples an epoch has, every window of a long text one of them, and where the number comes from.

    Local and generated data are counted, which also gives the task its labels; of hub data the published size is taken.
    """
    from src.data.load import arrange_splits, load_splits
    from src.models.load import load_tokenizer

    data = config["task"]["data"]
    if data["generator"] or local_files(data):
        train = arrange_splits(task.prepare(load_splits(data)), data)["train"]
        try:
            tokenizer = load_tokenizer(config["model"], **task.tokenizer_options)
        except UserError:
            return len(train), "rows of the data; the tokenizer is out of reach, so windows are not counted"
        return len(task.encode(train, tokenizer, training=True)), "counted"
    published = data["published"]
    if published["examples"] is None:
        raise UserError(
            f"a plan of task={task.name} needs its data: name a local folder with task.data.path=FOLDER, "
            "or files with task.data.files.train=FILE."
        )
    task.labels = [f"LABEL_{i}" for i in range(published["labels"] or 0)]
    return min(published["examples"], data["max_train_samples"] or published["examples"]), "published"


if __name__ == "__main__":
    with nearest_names():
        main()
