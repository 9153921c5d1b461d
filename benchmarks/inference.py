"""Latency, throughput and size of deployed models: ``python -m benchmarks.inference DENSE [NAME=]FOLDER ...``.

Each folder is a deployment, or a run folder that contains one; the first one holds the dense float32 model. Every
model runs in every engine that is for its precision, in one process, one after the other in each round. A ratio
compares two times of the same round, so a machine that slows down affects both. The speed that is 1.00 is that of the
first model in ONNX Runtime with default settings, without the settings that Winnow adds.
"""

import argparse
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.deep_sparse import DeepSparse, deep_sparse_version
from winnow.deployment.engines import PACKAGES, SPARSE, STOCK, Engine, graph_file, has_bfloat16, open_engine
from winnow.deployment.folder import SECTION, find_deployment
from winnow.deployment.latency import Timing, in_turns, timings, token_inputs
from winnow.deployment.sizes import Size, deployment_size, size_of
from winnow.engine.library import instruction_set, library
from winnow.errors import UserError, short_errors
from winnow.extras import require_extra
from winnow.files.run_files import read_result
from winnow.machine import describe_machine, machine_lines, spread, three_digits


@dataclass(frozen=True)
class Setup:
    """An engine with its settings.

    Args:
        engine: its name.
        int8: whether it is measured on int8 graphs.
        floating: whether it is measured on graphs in float32 or float16.
        options: further arguments of `open_engine`.
    """

    engine: str
    int8: bool = True
    floating: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def runs(self, folder: Path) -> bool:
        """True if it is measured on the model of a deployment folder."""
        precision = json.loads((folder / "config.json").read_text())[SECTION]["precision"]
        return (self.int8 if precision == "int8" else self.floating) and graph_file(folder, self.engine).is_file()


DEFAULT_ONNXRUNTIME = "onnxruntime defaults"
DEEP_SPARSE = "deepsparse"
_AUTO = {"precision": "auto"}
SETUPS = {
    DEFAULT_ONNXRUNTIME: Setup(STOCK, int8=False),
    "onnxruntime": Setup(STOCK),
    "openvino float32": Setup("openvino", int8=False),
    "openvino bfloat16": Setup("openvino", int8=False, options=_AUTO),
    "openvino int8": Setup("openvino", floating=False, options=_AUTO),
    "openvino int8, zeros skipped": Setup("openvino", floating=False, options={**_AUTO, "skip_zeros": True}),
    "sparse": Setup(SPARSE, floating=False),
    DEEP_SPARSE: Setup(DEEP_SPARSE),
}


class DefaultOnnxRuntime:
    """ONNX Runtime with default settings, except the number of threads."""

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = [node.name for node in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self.session.run(self.outputs, dict(inputs)), strict=True))


def name_and_deployment(argument: str) -> tuple[str, Path]:
    """The name of a model in the tables, and its deployment folder.

    The name is that of ``NAME=FOLDER``, else the recipe of the run, else the name of the folder.
    """
    name, equals, folder = argument.partition("=")
    deployment = find_deployment(Path(folder if equals else argument))
    run = deployment.parent
    if equals:
        return name, deployment
    return str(read_result(run)["recipe"]) if (run / "result.json").is_file() else deployment.name, deployment


def open_all(
    models: Mapping[str, Path], setups: Sequence[str], options: argparse.Namespace
) -> dict[tuple[str, str], Engine | DeepSparse]:
    """Open every model in every engine that is measured on it, by (model, engine)."""
    opened: dict[tuple[str, str], Engine | DeepSparse] = {}
    for name in setups:
        setup = SETUPS[name]
        for model, folder in models.items():
            graph = graph_file(folder, setup.engine)
            if not setup.runs(folder):
                continue
            if name == DEFAULT_ONNXRUNTIME:
                opened[model, name] = DefaultOnnxRuntime(graph, options.threads)
            elif name == DEEP_SPARSE:
                opened[model, name] = DeepSparse(options.deepsparse, graph, options.threads)
            else:
                opened[model, name] = open_engine(setup.engine, graph, options.threads, **setup.options)
    return opened


def all_sizes(models: Mapping[str, Path]) -> dict[str, Size]:
    """Sizes of all graphs, also those for the sparse engine."""
    sizes = {}
    for name, folder in models.items():
        sizes[name] = deployment_size(folder)
        if (graph := graph_file(folder, SPARSE)).is_file():
            sizes[f"{name}, {graph.name}"] = size_of([graph])
    return sizes


def measure_all(
    opened: Mapping[tuple[str, str], Engine | DeepSparse], vocabulary: int, options: argparse.Namespace
) -> dict[tuple[int, int], dict[tuple[str, str], Timing]]:
    """Timings by (batch size, length), then by (model, engine)."""
    timings_by_shape = {}
    for batch_size in options.batch_sizes:
        for length in options.lengths:
            keys = {" | ".join(key): key for key in opened}
            work = {
                label: functools.partial(
                    opened[key].run, token_inputs(opened[key].inputs, batch_size, length, vocabulary)
                )
                for label, key in keys.items()
            }
            times = in_turns(work, options.rounds, options.seconds)
            timings_by_shape[batch_size, length] = {keys[k]: timing for k, timing in timings(times, batch_size).items()}
            print(f"batch {batch_size}, length {length}: done", flush=True)
    return timings_by_shape


def report(
    sizes: Mapping[str, Size],
    timings_by_shape: Mapping[tuple[int, int], Mapping[tuple[str, str], Timing]],
    machine: dict[str, Any],
    options: argparse.Namespace,
) -> tuple[str, dict[str, Any]]:
    """The tables as Markdown, and all figures as plain values."""
    rows = list(next(iter(timings_by_shape.values())))
    unit = f"{' in '.join(rows[0])} = 1.00"
    lines = [
        machine_lines(machine) + (f"; sparse engine: {machine['sparse engine']}" if "sparse engine" in machine else ""),
        f"{options.rounds} rounds; shapes are batch x length in tokens; tokens are random, without padding",
        "",
    ]
    columns: dict[str, Callable[[Timing, Timing], str]] = {
        f"times as fast ({unit})": lambda timing, one: spread(inverse(timing.ratio)),
        f"times as fast, shortest times ({unit})": lambda timing, one: three_digits(
            one.latency["min"] / timing.latency["min"]
        ),
        "latency, ms": lambda timing, one: three_digits(1e3 * timing.latency["median"]),
        "samples per second": lambda timing, one: three_digits(timing.throughput),
    }
    for title, text in columns.items():
        shapes = [f"{batch_size} x {length}" for batch_size, length in timings_by_shape]
        lines += [f"| {title} | | {' | '.join(shapes)} |", "|---|---|" + "---|" * len(shapes)]
        for name, engine in rows:
            cells = [text(timed[name, engine], timed[rows[0]]) for timed in timings_by_shape.values()]
            lines.append(f"| {engine} | {name} | {' | '.join(cells)} |")
        lines.append("")
    if sizes:
        lines += ["| size | MB | MB packed by zstd | packed: how many times smaller than dense |", "|---|---|---|---|"]
    for name, size in sizes.items():
        smaller = next(iter(sizes.values())).compressed / size.compressed
        lines.append(f"| {name} | {size.raw / 1e6:.1f} | {size.compressed / 1e6:.1f} | {smaller:.2f} |")
    values = {
        "machine": machine,
        "options": vars(options),
        "sizes": {name: asdict(size) for name, size in sizes.items()},
        "timings": [
            {"batch_size": batch_size, "length": length, "model": name, "engine": engine, **asdict(timing)}
            for (batch_size, length), timed in timings_by_shape.items()
            for (name, engine), timing in timed.items()
        ],
    }
    return "\n".join(lines), values


def package(setup: str) -> str:
    """The package of an engine."""
    return PACKAGES[SETUPS[setup].engine]


def inverse(ratio: Mapping[str, float]) -> dict[str, float]:
    """How many times as fast, from ratios of times: median, minimum and maximum."""
    return {"median": 1 / ratio["median"], "min": 1 / ratio["max"], "max": 1 / ratio["min"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folders", nargs="+", metavar="[NAME=]FOLDER", help="deployments or run folders; first the dense one"
    )
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 128, 384])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: PyTorch's")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each model and round; at least one call")
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=[name for name in SETUPS if name != DEEP_SPARSE],
        default=[name for name in SETUPS if name != DEEP_SPARSE and find_spec(package(name))],
        metavar="NAME",
        help=f"some of: {'; '.join(name for name in SETUPS if name != DEEP_SPARSE)}; default: all that are installed",
    )
    parser.add_argument(
        "--deepsparse", type=Path, metavar="PYTHON", help="also DeepSparse, of the environment of this Python"
    )
    parser.add_argument("--skip-sizes", action="store_true", help="packing large graphs takes minutes")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    with short_errors():
        listed = [name_and_deployment(argument) for argument in options.folders]
        models = dict(listed)
        if len(models) < len(listed):
            names = [name for name, _ in listed]
            raise UserError(f"two models have the same name, of {', '.join(names)}; name them with NAME=FOLDER.")
        engines = [name for name in options.engines if name != "openvino bfloat16" or has_bfloat16()]
        for name in engines:
            if package(name) == "openvino":
                require_extra(f"--engines '{name}'", extra="openvino", package="openvino")
        machine = describe_machine(sorted({package(name) for name in engines}), options.threads)
        if options.deepsparse:
            engines.append(DEEP_SPARSE)
            machine["versions"][DEEP_SPARSE] = deep_sparse_version(options.deepsparse)
        if any(SETUPS[name].engine == SPARSE for name in engines):
            machine["sparse engine"] = instruction_set(library())
        sizes = {} if options.skip_sizes else all_sizes(models)
        vocabulary = json.loads((next(iter(models.values())) / "config.json").read_text())["vocab_size"]
        measured = measure_all(open_all(models, engines, options), vocabulary, options)
        text, values = report(sizes, measured, machine, options)
        print(f"\n{text}")
        if options.json:
            options.json.write_text(json.dumps(values, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
