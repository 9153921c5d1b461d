"""How near the sparse engine comes to the peak of a core: ``python -m benchmarks.roofline FOLDER ...``.

The peak is that of the dot instruction on registers, in multiply-accumulates of 8-bit integers per second. For each
deployment the whole model runs on one thread. Only the multiply-accumulates that are executed count: those of blocks
that are not zero, and the two matmuls of attention, without padding. Everything else, such as normalisations, takes
time but does not count. Peak and models take turns, as in `benchmarks.inference`.
"""

import argparse
import ctypes
import functools
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx

from winnow.deployment.engines import SPARSE, graph_file, open_engine
from winnow.deployment.folder import find_deployment
from winnow.deployment.latency import in_turns, token_inputs
from winnow.engine.library import find_compiler, instruction_set, library
from winnow.engine.quantized_graph import attribute
from winnow.errors import UserError, short_errors
from winnow.machine import describe_machine, machine_lines, spread, summarise, three_digits

PEAK = "peak of the dot instruction"
_REPETITIONS = 1_000_000  # about 2 ms


def peak() -> Callable[[], int]:
    """A function that does multiply-accumulates in registers for some milliseconds, and returns their number."""
    with tempfile.TemporaryDirectory() as folder:
        path, source = Path(folder) / "peak.so", Path(__file__).with_name("peak.cpp")
        command = [find_compiler(), "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(path)]
        compiled = subprocess.run(command, capture_output=True, text=True)
        if compiled.returncode:
            raise UserError(f"the peak cannot be measured: {compiled.stderr.strip()}")
        multiply = ctypes.CDLL(str(path)).multiply
    multiply.restype, multiply.argtypes = ctypes.c_long, [ctypes.c_long]
    return functools.partial(multiply, _REPETITIONS)


def executed(graph: onnx.ModelProto, batch_size: int, length: int) -> int:
    """The multiply-accumulates of a run: those of stored blocks, and those of attention."""
    tokens = batch_size * length
    weights: int = sum(
        each.dims[0] * each.dims[1] for each in graph.graph.initializer if each.name.endswith("weight.blocks")
    )
    hidden: int = sum(attribute(node, "rows") for node in graph.graph.node if node.op_type == "SelfAttention")
    return tokens * (weights + 2 * length * hidden)


def measure(models: Mapping[str, Path], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """For the peak and each model: multiply-accumulates of a call, and how many a second in each round."""
    shape = options.batch_size, options.length
    work: dict[str, Callable[[], Any]] = {PEAK: peak()}
    counts = {PEAK: work[PEAK]()}
    for name, folder in models.items():
        graph = graph_file(folder, SPARSE)
        engine = open_engine(SPARSE, graph, threads=1)
        vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
        work[name] = functools.partial(engine.run, token_inputs(engine.inputs, *shape, vocabulary))
        counts[name] = executed(onnx.load(graph), *shape)
    times = in_turns(work, options.rounds, options.seconds)
    rates = {name: [counts[name] / seconds for seconds in times[name]] for name in work}
    return {
        name: {
            "multiply_accumulates": counts[name],
            "per_second": summarise(rates[name]),
            "of_peak": summarise([one / most for one, most in zip(rates[name], rates[PEAK], strict=True)]),
            "best_of_best_peak": max(rates[name]) / max(rates[PEAK]),
        }
        for name in work
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="deployments with model.sparse.onnx")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--length", type=int, default=128, help="in tokens")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each model and round; at least one call")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    with short_errors():
        machine = describe_machine(["onnxruntime"], threads=1)
        machine["sparse engine"] = instruction_set(library())
        models = {folder.name: find_deployment(folder) for folder in options.folders}
        measured = measure(models, options)
    print(machine_lines(machine) + f"; sparse engine: {machine['sparse engine']}")
    print(f"{options.rounds} rounds; {options.batch_size} x {options.length} tokens\n")
    print("| model | multiply-accumulates, millions | billions per second | % of the peak | best round, % |")
    print("|---|---|---|---|---|")
    for name, found in measured.items():
        rate, share = (
            {k: v * unit for k, v in found[n].items()} for n, unit in (("per_second", 1e-9), ("of_peak", 100))
        )
        best = three_digits(100 * found["best_of_best_peak"])
        print(f"| {name} | {found['multiply_accumulates'] / 1e6:,.0f} | {spread(rate)} | {spread(share)} | {best} |")
    if options.json:
        figures = {"machine": machine, "options": vars(options), "measured": measured}
        options.json.write_text(json.dumps(figures, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
