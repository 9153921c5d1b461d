"""Choose the engine of a deployment: the faster one of those that its export has verified."""

import sys
from pathlib import Path
from typing import Any

from winnow.deployment.engines import AUTO, SPARSE, STOCK, Engine, graph_file, open_engine
from winnow.deployment.folder import SPARSE_GRAPH, VERIFICATION, check_files
from winnow.engine.library import instruction_set, library
from winnow.errors import UserError
from winnow.files.checksums import sha256
from winnow.files.json_text import read_json
from winnow.files.run_files import RESULT
from winnow.machine import processor


def open_deployed(folder: Path, engine: str, threads: int | None = None, precision: str = "float32") -> Engine:
    """Open the graph of a deployment folder.

    ``auto`` is ONNX Runtime if the folder has no graph for the sparse engine. Otherwise a line on stderr says which
    engine is used: the faster one of both, if the export has compared them on such a processor, else the sparse one,
    if the export has verified its graph and it can run here.

    Args:
        folder: with model.onnx.
        engine: a name of `winnow.deployment.engines.CHOICES`.
        threads: as in `open_engine`.
        precision: as in `open_engine`.
    """
    if engine != AUTO:
        return _open(engine, folder, threads, precision)
    if (folder / SPARSE_GRAPH).is_file():
        times = _measured(folder)
        if times is None or times[SPARSE] < times[STOCK]:
            try:
                inputs = _verified_inputs(folder)
                opened = _open(SPARSE, folder, threads, precision)
                faster = f", faster than {STOCK} on this processor" if times else ""
                _say(f"engine: sparse ({instruction_set(library())}), verified on {inputs:,} inputs{faster}")
                return opened
            except UserError as error:
                reason = str(error).removeprefix("engine=sparse: ").partition(";")[0]
                _say(f"note: engine=sparse cannot be used here: {reason}; using {STOCK}")
        else:
            _say(f"engine: {STOCK}, faster than sparse on this processor")
    return _open(STOCK, folder, threads, precision)


def _open(engine: str, folder: Path, threads: int | None, precision: str) -> Engine:
    graph = graph_file(folder, engine)
    check_files(folder, lambda name: name.startswith(graph.name))  # large weights are beside the graph
    return open_engine(engine, graph, threads, precision, many_shapes=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _verified_inputs(folder: Path) -> int:
    """The number of inputs on which the export has verified this very graph of the sparse engine.

    Raises:
        UserError: if it has not.
    """
    check_files(folder, lambda name: name == VERIFICATION)
    try:
        report = read_json(folder / VERIFICATION)
        sparse = report["sparse"]
        if sparse["failures"] == [] and sparse["sha256"] == sha256(folder / SPARSE_GRAPH):
            return int(report["samples"]["inputs"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{VERIFICATION} is not that of this {SPARSE_GRAPH}; export the run again.")


def _measured(folder: Path) -> dict[str, float] | None:
    """Relative times of both engines, if ``export.compare`` has measured them on such a processor; else None."""
    try:
        deployment: dict[str, Any] = read_json(folder.parent / RESULT)["deployment"]
        compared, precision = deployment["latency"], deployment["precision"]
        if folder.name != "deployment" or any(compared["machine"][n] != value for n, value in processor().items()):
            return None
        names = {engine: f"{engine}, {precision} graph" for engine in (STOCK, SPARSE)}
        batches = compared["batches"].values()
        return {n: sum(float(timed[way]["ratio"]["median"]) for timed in batches) for n, way in names.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
