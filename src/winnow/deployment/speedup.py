"""The speed of a deployment relative to its dense float32 model, measured where a recipe has asked for a speedup."""

import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from winnow.deployment.engines import PACKAGES, SPARSE, STOCK, TITLES, Engine, graph_file, open_engine
from winnow.deployment.folder import GRAPH
from winnow.deployment.graph import write_graph
from winnow.deployment.latency import measure, ratio
from winnow.errors import UserError
from winnow.machine import describe_machine, spread, three_digits
from winnow.models.pretrained import from_pretrained, new_model
from winnow.tasks.task import Task

_ROUNDS = 7
_SECONDS = 0.3  # for each of the two graphs in a round
_TOLERATED = 0.93  # of the speedup that was asked for: timings of other days and other loads differ


def measure_speedup(
    structure: Mapping[str, Any], run: Path, deployment: Path, task: Task, section: Mapping[str, Any], opset: int
) -> dict[str, Any]:
    """Run the deployed graph and the float32 graph of the dense model in turns.

    Args:
        structure: the entry ``structure`` of result.json: the speedup that was asked for, and the conditions.
        run: folder of the run, with ``model/``.
        deployment: folder with the graph.
        task: of the run.
        section: of the deployment: ``inputs``, ``precision``, ``batch_size`` and ``sequence_length``.
        opset: of the dense graph.

    Returns:
        Plain values: ``asked``, ``predicted`` and ``measured``, a summary of the rounds or None; the conditions; and
        ``notes``, why nothing was measured, or why it cannot be compared with what was asked for.
    """
    conditions = {name: structure[name] for name in ("latency", "engine", "precision", "threads")}
    shape = {name: section[name] or structure[name] for name in ("batch_size", "sequence_length")}
    facts = {"asked": structure["target_speedup"], "predicted": structure["predicted_speedup"], "measured": None}
    facts |= conditions | shape | {"precision": section["precision"], "notes": []}
    if structure["latency"] != "measured":
        return facts
    with tempfile.TemporaryDirectory() as folder:
        try:
            deployed = _opened(structure["engine"], deployment, structure["threads"])
        except UserError as error:
            return facts | {"notes": [f"the speedup is not measured: {error}"]}
        dense = Path(folder) / GRAPH
        _write_dense(run / "model", dense, task, structure["dense"]["layers"], section, opset)
        reference = open_engine(_reference(structure["engine"]), dense, structure["threads"])
        times = measure(
            {"dense": reference, "deployed": deployed},
            batch_size=shape["batch_size"],
            length=shape["sequence_length"],
            vocabulary=from_pretrained(AutoConfig, run / "model").vocab_size,
            rounds=_ROUNDS,
            seconds=_SECONDS,
        )
    return facts | {
        "measured": ratio(times["dense"], times["deployed"]),
        "machine": describe_machine([PACKAGES[structure["engine"]]], structure["threads"]),
        "notes": list(_differences(structure, facts)),
    }


def _opened(engine: str, deployment: Path, threads: int) -> Engine:
    if find_spec(PACKAGES[engine]) is None:
        raise UserError(f"the package {PACKAGES[engine]} is not installed; pip install {PACKAGES[engine]}")
    graph = graph_file(deployment, engine)
    if not graph.is_file():
        raise UserError(f"the deployment has no {graph.name}")
    return open_engine(engine, graph, threads)


def _write_dense(folder: Path, path: Path, task: Task, layers: int, section: Mapping[str, Any], opset: int) -> None:
    """Write the float32 model with all layers, heads and neurons; weights are new: the time does not depend on them."""
    config: Any = from_pretrained(AutoConfig, folder)
    config.num_hidden_layers = layers  # DistilBERT's configuration maps it to n_layers
    shape = {name: section[name] for name in ("batch_size", "sequence_length")}
    model = new_model(task, config)
    write_graph(model, path, inputs=section["inputs"], outputs=task.output_names, opset=opset, **shape)


def _reference(engine: str) -> str:
    """The engine of the dense model."""
    return STOCK if engine == SPARSE else engine


def _differences(structure: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    for name in ("precision", "batch_size", "sequence_length"):
        if facts[name] != structure[name]:
            yield (
                f"the deployment has {name}={facts[name]}, but heads and neurons were chosen for "
                f"{name}={structure[name]}; the speedup that was asked for does not apply"
            )


def check_speedup(facts: Mapping[str, Any], run: Path) -> None:
    """Refuse a deployment that is slower than was asked for, if the two can be compared.

    Raises:
        UserError: with what was asked for, predicted and measured.
    """
    if facts["measured"] is None or facts["notes"] or facts["measured"]["median"] >= _TOLERATED * facts["asked"]:
        return
    raise UserError(
        f"run={run}: the deployment is slower than was asked for: {speedup_text(facts)}. It is not kept; an earlier "
        "deployment is untouched. Keep it all the same by export.allow_slower=true, or train with a larger "
        "recipe.structure.target_speedup."
    )


def speedup_text(facts: Mapping[str, Any]) -> str:
    """The speedup in a line, with the conditions."""
    asked, predicted = f"asked {facts['asked']:g}", f"predicted {three_digits(facts['predicted'])}"
    if facts["latency"] != "measured":
        return f"{asked}, {predicted} times fewer multiply-accumulates than the dense model; no time was measured"
    measured = f", measured {spread(facts['measured'])}" if facts["measured"] else ""
    engine = TITLES[_reference(facts["engine"])]
    deployed = f" (deployed in {TITLES[SPARSE]})" if facts["engine"] == SPARSE else ""
    threads = f"{facts['threads']} thread{'s' if facts['threads'] > 1 else ''}"
    return (
        f"{asked}, {predicted}{measured} times as fast as the dense float32 model in {engine}{deployed}, "
        f"batch {facts['batch_size']}, {facts['sequence_length']} tokens, {threads}"
    )
