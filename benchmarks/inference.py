"""Latency, throughput and size of deployed models: ``python -m benchmarks.inference DENSE [NAME=]FOLDER ...``.

Each folder is a deployment, or a run folder that contains one; the first one holds the dense float32 model. Every
model runs in every engine, in one process, one after the other in each round. A ratio compares two times of the same
round, so a machine that slows down affects both. The latency that is 1.00 is that of the first model in ONNX Runtime
with default settings, without the settings that Winnow adds.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from winnow.deployment.engines import Engine, has_bfloat16, open_engine
from winnow.deployment.folder import GRAPH, SECTION, find_deployment
from winnow.deployment.latency import Timing, measure, timings
from winnow.deployment.sizes import Size, deployment_size
from winnow.errors import UserError, short_errors
from winnow.files.run_files import read_result
from winnow.machine import describe_machine, machine_lines, spread, three_digits

# Name of a configuration of an engine -> arguments of `open_engine`.
ENGINES: dict[str, dict[str, Any]] = {
    "onnxruntime": {"name": "onnxruntime"},
    "openvino float32": {"name": "openvino"},
    "openvino bfloat16": {"name": "openvino", "precision": "auto"},
    "openvino, zeros skipped": {"name": "openvino", "precision": "auto", "skip_zeros": True},
}
DEFAULT_ONNXRUNTIME = "onnxruntime defaults"


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


def open_all(models: Mapping[str, Path], engines: Sequence[str], threads: int) -> dict[tuple[str, str], Engine]:
    """Open every model in every engine, by (model, engine); an engine that skips zeros gets int8 graphs only."""
    opened: dict[tuple[str, str], Engine] = {}
    for engine in engines:
        for name, folder in models.items():
            if engine == DEFAULT_ONNXRUNTIME:
                opened[name, engine] = DefaultOnnxRuntime(folder / GRAPH, threads)
            elif not ENGINES[engine].get("skip_zeros") or _precision(folder) == "int8":
                opened[name, engine] = open_engine(model=folder / GRAPH, threads=threads, **ENGINES[engine])
    return opened


def _precision(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text())[SECTION]["precision"])


def measure_all(
    opened: Mapping[tuple[str, str], Engine], vocabulary: int, options: argparse.Namespace
) -> dict[tuple[int, int], dict[tuple[str, str], Timing]]:
    """Timings by (batch size, length), then by (model, engine)."""
    timings_by_shape = {}
    for batch_size in options.batch_sizes:
        for length in options.lengths:
            keys = {" | ".join(key): key for key in opened}
            engines = {label: opened[key] for label, key in keys.items()}
            times = measure(
                engines,
                batch_size=batch_size,
                length=length,
                vocabulary=vocabulary,
                rounds=options.rounds,
                seconds=options.seconds,
            )
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
    unit = ", ".join(rows[0])
    lines = [
        machine_lines(machine),
        f"{options.rounds} rounds; shapes are batch x length in tokens; tokens are random, without padding",
        "",
    ]
    columns: dict[str, Callable[[Timing], str]] = {
        f"latency ({unit} = 1.00)": lambda timing: spread(timing.ratio),
        "latency, ms": lambda timing: three_digits(1e3 * timing.latency["median"]),
        "samples per second": lambda timing: three_digits(timing.throughput),
    }
    for title, text in columns.items():
        shapes = [f"{batch_size} x {length}" for batch_size, length in timings_by_shape]
        lines += [f"| {title} | | {' | '.join(shapes)} |", "|---|---|" + "---|" * len(shapes)]
        for name, engine in rows:
            cells = [text(timed[name, engine]) for timed in timings_by_shape.values()]
            lines.append(f"| {engine} | {name} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["| size | MB | MB packed by zstd | packed: how many times smaller than dense |", "|---|---|---|---|"]
    dense = next(iter(sizes.values()))
    lines += [
        f"| {name} | {size.raw / 1e6:.1f} | {size.compressed / 1e6:.1f} | {dense.compressed / size.compressed:.2f} |"
        for name, size in sizes.items()
    ]
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
        choices=[DEFAULT_ONNXRUNTIME, *ENGINES],
        default=[DEFAULT_ONNXRUNTIME, *(name for name, engine in ENGINES.items() if find_spec(engine["name"]))],
        metavar="NAME",
        help=f"some of: {', '.join([DEFAULT_ONNXRUNTIME, *ENGINES])}; default: all that are installed",
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    with short_errors():
        listed = [name_and_deployment(argument) for argument in options.folders]
        models = dict(listed)
        if len(models) < len(listed):
            names = [name for name, _ in listed]
            raise UserError(f"two models have the same name, of {', '.join(names)}; name them with NAME=FOLDER.")
        engines = [name for name in options.engines if name != "openvino bfloat16" or has_bfloat16()]
        packages = {ENGINES[name]["name"] if name in ENGINES else "onnxruntime" for name in engines}
        machine = describe_machine(sorted(packages), options.threads)
        sizes = {name: deployment_size(folder) for name, folder in models.items()}
        vocabulary = json.loads((next(iter(models.values())) / "config.json").read_text())["vocab_size"]
        measured = measure_all(open_all(models, engines, options.threads), vocabulary, options)
        text, values = report(sizes, measured, machine, options)
        print(f"\n{text}")
        if options.json:
            options.json.write_text(json.dumps(values, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
