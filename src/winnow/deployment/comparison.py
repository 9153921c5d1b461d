"""A deployment against the float32 graph of its model, on each engine there is: what is fastest on this machine?"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from winnow.deployment.engines import ENGINES, Engine, has_bfloat16, open_engine
from winnow.deployment.exportable import token_limit
from winnow.deployment.folder import GRAPH, SECTION
from winnow.deployment.graph import write_graph
from winnow.deployment.latency import measure, ratio, timings
from winnow.errors import UserError
from winnow.machine import describe_machine

BATCHES = (1, 32)
LENGTH = 128  # tokens, where the graph is not fixed to others and the model can read so many
SPARSE = 0.1  # zeros of the encoder from which they are worth a word; rounding to integers alone makes a few
_ROUNDS = 5
_SECONDS = 0.3  # of an engine in a round


@dataclass(frozen=True)
class Way:
    """A way to run a model.

    Args:
        engine: its name.
        graph: the precision of the graph.
        precision: as `open_engine` has it.
        skip_zeros: likewise.
    """

    engine: str
    graph: str
    precision: str = "float32"
    skip_zeros: bool = False

    def __str__(self) -> str:
        rest = ", bfloat16" if self.precision == "auto" else ""
        return f"{self.engine}, {self.graph} graph{rest}{', zeros skipped' if self.skip_zeros else ''}"


def ways(graph: str, *, sparse: bool, engines: tuple[str, ...], bfloat16: bool) -> list[Way]:
    """All ways to run a deployment and its float32 graph; the first is the float32 graph in ONNX Runtime.

    Args:
        graph: precision of the deployed graph.
        sparse: many of its weights are zero.
        engines: that are installed.
        bfloat16: this CPU computes in it.
    """
    found = []
    for engine in engines:
        chosen = ["float32", *(["auto"] if bfloat16 and engine == "openvino" else [])]
        for kind in dict.fromkeys(("float32", graph)):
            found += [Way(engine, kind, precision) for precision in chosen]
        if engine == "openvino" and graph == "int8" and sparse:
            found.append(Way(engine, graph, chosen[-1], skip_zeros=True))
    return found


def compare(run: Path, task: Any, *, opset: int, sparsity: float) -> dict[str, Any]:
    """Measure every way at batch 1 and 32, in turns, with as many threads as PyTorch has.

    Args:
        run: with its ``deployment/``, and the ``model/`` that this was made of.
        task: of the run.
        opset: of the float32 graph.
        sparsity: fraction of zeros in the encoder.

    Returns:
        Plain values: the machine, and for each batch size the ways with their latency and throughput, each ratio
        that to the float32 graph in ONNX Runtime; ``skipping_zeros`` is the ratio to the same without.
    """
    deployment = run / "deployment"
    config = json.loads((deployment / "config.json").read_text())
    ours = config[SECTION]
    engines = tuple(name for name in ENGINES if find_spec(name))
    listed = ways(
        ours["precision"], sparse=sparsity >= SPARSE, engines=engines, bfloat16="openvino" in engines and has_bfloat16()
    )
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        graphs = {ours["precision"]: deployment / GRAPH}
        if "float32" not in graphs:
            graphs["float32"] = Path(folder) / GRAPH
            _write_float32(run, task, graphs["float32"], ours, opset)
        opened = _opened(listed, graphs, threads)
        listed = [way for way in listed if str(way) in opened]
        length = ours["sequence_length"] or min(LENGTH, token_limit(deployment) or LENGTH)
        batches = (ours["batch_size"],) if ours["batch_size"] else BATCHES
        measured = {str(batch): _measure(opened, listed, batch, length, config["vocab_size"]) for batch in batches}
    return {
        "machine": describe_machine(engines, threads),
        "length": length,
        "ways": {str(way): asdict(way) for way in listed},
        "batches": measured,
    }


def _opened(listed: list[Way], graphs: Mapping[str, Path], threads: int) -> dict[str, Engine]:
    """The engines of all ways but those of OpenVINO that it cannot run on this processor; a note names them."""
    opened = {}
    for way in listed:
        try:
            opened[str(way)] = open_engine(way.engine, graphs[way.graph], threads, way.precision, way.skip_zeros)
        except UserError as error:
            if way.engine == ENGINES[0]:
                raise
            print(f"note: {way}: not measured, {error}")
    return opened


def _write_float32(run: Path, task: Any, path: Path, ours: Mapping[str, Any], opset: int) -> None:
    """The graph of the model without quantisers; its values are those of the rounded weights."""
    model = task.auto_model.from_pretrained(run / "model", dtype=torch.float32).eval()
    shape = {name: ours[name] for name in ("batch_size", "sequence_length")}
    write_graph(model, path, inputs=ours["inputs"], outputs=ours["outputs"], opset=opset, **shape)


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
    """The way to run a graph with the smallest latency at a batch size, of those that a user can choose."""
    timed = compared["batches"][batch]
    found = [name for name, way in compared["ways"].items() if way["graph"] == graph and not way["skip_zeros"]]
    return min(found, key=lambda name: timed[name]["ratio"]["median"])
