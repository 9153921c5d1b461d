"""The latency of a run's model by its heads and neurons, known before the first step and kept in the run's folder."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from winnow.config.modifiers import StructureSettings
from winnow.config.run import RunConfig
from winnow.deployment.block_latency import known_table, measured_table
from winnow.files.atomic import write_atomically
from winnow.files.json_text import json_text, read_json
from winnow.functional.latency_table import LatencyTable, table_from_json, table_json
from winnow.models.block_macs import macs_table
from winnow.models.pretrained import new_model
from winnow.models.shapes import stock_shape
from winnow.modifiers.clock import Clock
from winnow.modifiers.modifier import Modifier
from winnow.modifiers.structured_pruning import StructuredPruning
from winnow.tasks.task import Task
from winnow.training.random_state import random_state, set_random_state

TABLE = "latency_table.json"  # in the folder of a run


def give_tables(modifiers: Iterable[Modifier], student: Any, task: Task, config: RunConfig, folder: Path) -> None:
    """Give the modifiers that need it the latency table of the student's stock shape.

    A run has one such modifier at most. A run that is resumed uses the table of its first start.

    Args:
        student: as loaded, before layers are dropped.

    Raises:
        UserError: for a speedup that is out of reach, and for an engine that cannot run here.
    """
    for modifier in modifiers:
        if isinstance(modifier, StructuredPruning):
            modifier.use(_table(modifier.settings, student, task, config, folder / TABLE))


def _table(settings: StructureSettings, student: Any, task: Task, config: RunConfig, file: Path) -> LatencyTable:
    if file.is_file():
        return table_from_json(read_json(file)["table"])
    state = random_state()
    stock = new_model(task, copy.deepcopy(student.config))  # the time does not depend on the weights
    facts: dict[str, Any] = {}
    if settings.latency == "macs":
        table = macs_table(stock, settings)
    else:
        measured = measured_table(stock, task, settings, Path(config.cache.folder))
        table, facts = measured.table, measured.facts
    set_random_state(state)
    write_atomically(file, json_text({"table": table_json(table), "facts": facts}, indent=1) + "\n")
    return table


def planned_speed(modifiers: Iterable[Modifier], task: Task, config: RunConfig, clock: Clock) -> dict[str, Any] | None:
    """What a plan shows of the modifier that needs a latency table; None in a recipe without one.

    Args:
        modifiers: after ``match`` and ``begin``; the speedup that is asked for is checked if the table is known.
        clock: of the run.

    Returns:
        Plain values: the settings by which latency counts, and ``known``, None for a table that is not yet measured:
        the table, the speedup ``before`` the first stage, the ``highest`` one, and the ``targets`` of the stages.

    Raises:
        UserError: for a speedup that is out of reach.
    """
    for modifier in modifiers:
        if isinstance(modifier, StructuredPruning):
            conditions = modifier.settings.conditions
            table = _known(modifier.settings, config, task)
            if table is None:
                return {"modifier": modifier.name, **conditions, "known": None}
            modifier.use(table)
            modifier.begin(clock)
            before, highest = modifier.reach()
            speedups = {"before": before, "highest": highest, "targets": modifier.targets()}
            return {"modifier": modifier.name, **conditions, "known": {**speedups, "table": table_json(table)}}
    return None


def _known(settings: StructureSettings, config: RunConfig, task: Task) -> LatencyTable | None:
    """The table, if it need not be measured."""
    stock = stock_shape(config.model, task)
    if settings.latency == "macs":
        return macs_table(stock, settings)
    found = known_table(stock, settings, Path(config.cache.folder))
    return found.table if found else None
