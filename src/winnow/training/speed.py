"""The latency of a run's model by its heads and neurons, known before the first step and kept in the run's folder."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from winnow.config.modifiers import StructureSettings
from winnow.config.run import RunConfig
from winnow.deployment.block_latency import measured_table
from winnow.files.atomic import write_atomically
from winnow.files.json_text import json_text, read_json
from winnow.functional.latency_table import LatencyTable, table_from_json, table_json
from winnow.models.block_macs import macs_table
from winnow.models.pretrained import new_model
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
        print("structure: measures the latency of heads and neurons, which takes a minute or so", flush=True)
        measured = measured_table(stock, task, settings, Path(config.cache.folder))
        table, facts = measured.table, measured.facts
    set_random_state(state)
    write_atomically(file, json_text({"table": table_json(table), "facts": facts}, indent=1) + "\n")
    return table
