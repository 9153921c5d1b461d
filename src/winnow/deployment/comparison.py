"""Compare the speed of a deployment with the float32 graph of its model, in every engine that can run them."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from winnow.deployment.engines import ENGINES, PACKAGES, SPARSE, STOCK, Engine, has_bfloat16, open_engine
from winnow.deployment.folder import GRAPH, SECTION, SPARSE_GRAPH
from winnow.deployment.graph import write_graph
from winnow.deployment.latency import measure, ratio, timings
from winnow.errors import UserError
from winnow.files.token_limit import saved_token_limit
from winnow.machine import describe_machine
from winnow.models.pretrained import from_pretrained
from winnow.tasks.task import Task

BATCHES = (1, 32)
LENGTH = 128  # tokens, unless the graph has a fixed length or the model reads fewer
SPARSE_FROM = 0.1  # fraction of zeros in the encoder from which it counts as sparse; rounding to integers makes some
_ROUNDS = 5
_SECONDS = 0.3  # for each engine in a round


@dataclass(frozen=True)
class Way:
    """A way to run a model: an engine, a graph and options.

    Args:
        engine: its name.
        graph: precision of the graph.
        precision: as in `open_engine`.
        skip_zeros: as in `open_engine`.
    """

    engine: str
    graph: str
    precision: str = "float32"
    skip_zeros: bool = False

    def __str__(self) -> str:
        precision = ", bfloat16" if self.precision == "auto" else ""
        return f"{self.engine}, {self.graph} graph{precision}{', zeros skipped' if self.skip_zeros else ''}"


def ways(graph: str, *, sparse: bool, engines: tuple[str, ...], bfloat16: bool) -> list[Way]:
    """All ways to run a deployment and its float32 graph; the first is the float32 graph in ONNX Runtime.

    Args:
        graph: precision of the deployed graph.
        sparse: whether many of its weights are zero.
        engines: those that can run it; the sparse one runs no float32 graph.
        bfloat16: whether this CPU supports it.
    """
    found = []
    for engine in engines:
        precisions = ["float32", *(["auto"] if bfloat16 and engine == "openvino" else [])]
        for kind in dict.fromkeys(("float32", graph) if engine != SPARSE else (graph,)):
            found += [Way(engine, kind, precision) for precision in precisions]
        if engine == "openvino" and graph == "int8" and sparse:
            found.append(Way(engine, graph, precisions[-1], skip_zeros=True))
    return found


def compare(run: Path, task: Task, *, opset: int, sparsity: float) -> dict[str, Any]:
    """Measure all ways at batch sizes 1 and 32, in turns, with the number of threads of PyTorch.

    Args:
        run: with ``deployment/``, and the ``model/`` from which it was exported.
        task: of the run.
        opset: of the float32 graph.
        sparsity: fraction of zeros in the encoder.

    Returns:
        Plain values: the machine, and for each batch size the ways with latency, throughput, and the ratio to the
        float32 graph in ONNX Runtime; ``skipping_zeros`` is the ratio to the same way without that option.
    """
    deployment = run / "deployment"
    config = json.loads((deployment / "config.json").read_text())
    section = config[SECTION]
    graphs = {(name, section["precision"]): deployment / GRAPH for name in ENGINES}
    graphs[SPARSE, section["precision"]] = deployment / SPARSE_GRAPH
    engines = tuple(n for n in ENGINES if find_spec(PACKAGES[n]) and graphs[n, section["precision"]].is_file())
    bfloat16 = "openvino" in engines and has_bfloat16()
    listed = ways(section["precision"], sparse=sparsity >= SPARSE_FROM, engines=engines, bfloat16=bfloat16)
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        if section["precision"] != "float32":
            plain = Path(folder) / GRAPH
            _write_float32(run, task, plain, section, opset)
            graphs |= {(name, "float32"): plain for name in ENGINES}
        opened = _opened(listed, graphs, threads)
        listed = [way for way in listed if str(way) in opened]
        length = section["sequence_length"] or min(LENGTH, saved_token_limit(deployment) or LENGTH)
        batches = (section["batch_size"],) if section["batch_size"] else BATCHES
        measured = {str(batch): _measure(opened, listed, batch, length, config["vocab_size"]) for batch in batches}
    return {
        "machine": describe_machine(list(dict.fromkeys(PACKAGES[name] for name in engines)), threads),
        "length": length,
        "ways": {str(way): asdict(way) for way in listed},
        "batches": measured,
    }


def _opened(listed: list[Way], graphs: Mapping[tuple[str, str], Path], threads: int) -> dict[str, Engine]:
    """The engines of all ways; those that cannot run on this processor are left out, with a note."""
    opened = {}
    for way in listed:
        try:
            opened[str(way)] = open_engine(
                way.engine, graphs[way.engine, way.graph], threads, way.precision, way.skip_zeros
            )
        except UserError as error:
            if way.engine == STOCK:
                raise
            print(f"note: {way}: not measured, {error}")
    return opened


def _write_float32(run: Path, task: Task, path: Path, section: Mapping[str, Any], opset: int) -> None:
    """Write the graph of the model without quantisation; its weights are those rounded to the quantisation grid."""
    model = from_pretrained(task.auto_model, run / "model", dtype=torch.float32).eval()
    shape = {name: section[name] for name in ("batch_size", "sequence_length")}
    write_graph(model, path, inputs=section["inputs"], outputs=section["outputs"], opset=opset, **shape)


def _measure(
    opened: Mapping[str, Engine], listed: list[Way], batch_size: int, length: int, vocabulary: int
) -> dict[str, Any]:
    times = measure(
        opened, batch_size=batch_size, length=length, vocabulary=vocabulary, rounds=_ROUNDS, seconds=_SECONDS
    )
    found: dict[str, Any] = {name: asdict(timing) for name, timing in timings(times, batch_size).items()}
    for way in listed:
        if way.skip_zeros:
            without = times[str(Way(way.engine, way.graph, way.precision))]
            found[str(way)]["skipping_zeros"] = ratio(times[str(way)], without)
    return found


def fastest(compared: Mapping[str, Any], batch: str, graph: str) -> str:
    """The way with the smallest latency at a batch size, except skipping zeros, which users cannot choose."""
    timed = compared["batches"][batch]
    found: list[str] = [n for n, way in compared["ways"].items() if way["graph"] == graph and not way["skip_zeros"]]
    return min(found, key=lambda name: timed[name]["ratio"]["median"])
