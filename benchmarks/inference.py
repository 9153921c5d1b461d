"""Latency, throughput and size of deployed models: ``python -m benchmarks.inference DENSE [NAME=]FOLDER ...``.

Each folder is a deployment or a run that has one; the first holds the dense float32 model that the others are
compared with. Every model runs in each engine, all of them in turns and in one process; ratios are taken within a
round, so that a machine that slows down slows both sides. The unit is the first model in ONNX Runtime as it comes,
without the settings that Winnow gives it.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
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
from winnow.machine import describe_machine, digits, machine_lines, shown

# How a model is run -> the engine and its options.
ENGINES: dict[str, dict[str, Any]] = {
    "onnxruntime": {"name": "onnxruntime"},
    "openvino float32": {"name": "openvino"},
    "openvino bfloat16": {"name": "openvino", "precision": "auto"},
    "openvino, zeros skipped": {"name": "openvino", "precision": "auto", "skip_zeros": True},
}
AS_IT_COMES = "onnxruntime as it comes"


class AsItComes:
    """ONNX Runtime without any setting but the threads."""

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = [node.name for node in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self.session.run(self.outputs, dict(inputs)), strict=True))


def named(folder: str) -> tuple[str, Path]:
    """What a model is called in the tables, and its deployment: NAME=FOLDER, or the recipe of a run."""
    name, equals, place = folder.partition("=")
    path = find_deployment(Path(place if equals else folder))
    run = path.parent if (path.parent / "result.json").is_file() else None
    return (name if equals else read_result(run)["recipe"] if run else path.name), path


def open_all(models: Mapping[str, Path], engines: Sequence[str], threads: int) -> dict[tuple[str, str], Engine]:
    """Every model in every engine, by name and engine; zeros are skipped in int8 graphs alone."""
    opened: dict[tuple[str, str], Engine] = {}
    for way in engines:
        for name, folder in models.items():
            if way == AS_IT_COMES:
                opened[name, way] = AsItComes(folder / GRAPH, threads)
            elif not ENGINES[way].get("skip_zeros") or _described(folder)["precision"] == "int8":
                opened[name, way] = open_engine(model=folder / GRAPH, threads=threads, **ENGINES[way])
    return opened


def _described(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())[SECTION]


def measure_all(
    opened: Mapping[tuple[str, str], Engine], vocabulary: int, options: argparse.Namespace
) -> dict[tuple[int, int], dict[tuple[str, str], Timing]]:
    """By batch size and length."""
    found = {}
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
            found[batch_size, length] = {keys[k]: timing for k, timing in timings(times, batch_size).items()}
            print(f"batch {batch_size}, length {length}: done", flush=True)
    return found


def report(
    sizes: Mapping[str, Size],
    found: Mapping[tuple[int, int], Mapping[tuple[str, str], Timing]],
    machine: dict[str, Any],
    options: argparse.Namespace,
) -> tuple[str, dict]:
    """The tables as Markdown, and everything as plain values."""
    rows = next(iter(found.values())).keys()
    shapes = [f"{batch_size} x {length}" for batch_size, length in found]
    unit = ", ".join(next(iter(rows)))
    lines = [machine_lines(machine), f"{options.rounds} rounds; batch x length in tokens, random, without padding", ""]
    for title, cell in {
        f"latency over that of {unit}": lambda timing: shown(timing.ratio),
        "latency, ms": lambda timing: digits(1e3 * timing.latency["median"]),
        "samples per second": lambda timing: digits(timing.throughput),
    }.items():
        lines += [f"| {title} | | {' | '.join(shapes)} |", "|---|---|" + "---|" * len(shapes)]
        lines += [
            f"| {way} | {name} | {' | '.join(cell(t[name, way]) for t in found.values())} |" for name, way in rows
        ]
        lines.append("")
    lines += ["| size | MB | MB packed by zstd | dense float32, packed, over it |", "|---|---|---|---|"]
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
            {"batch_size": batch_size, "length": length, "model": name, "engine": way, **asdict(timing)}
            for (batch_size, length), timed in found.items()
            for (name, way), timing in timed.items()
        ],
    }
    return "\n".join(lines), values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="[NAME=]FOLDER", help="deployments or runs, the dense one first")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 128, 384])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of each run; default: PyTorch's")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each model in a round, one call at least")
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=[AS_IT_COMES, *ENGINES],
        default=[AS_IT_COMES, *(way for way, given in ENGINES.items() if find_spec(given["name"]))],
        metavar="NAME",
        help=f"some of: {', '.join([AS_IT_COMES, *ENGINES])}; default: all that are installed",
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    with short_errors():
        listed = [named(folder) for folder in options.folders]
        models = dict(listed)
        if len(models) < len(listed):
            raise UserError("two models have one name; tell them apart with NAME=FOLDER.")
        engines = [way for way in options.engines if way != "openvino bfloat16" or has_bfloat16()]
        packages = {ENGINES[way]["name"] if way in ENGINES else "onnxruntime" for way in engines}
        machine = describe_machine(sorted(packages), options.threads)
        sizes = {name: deployment_size(folder) for name, folder in models.items()}
        vocabulary = json.loads((next(iter(models.values())) / "config.json").read_text())["vocab_size"]
        found = measure_all(open_all(models, engines, options.threads), vocabulary, options)
        text, values = report(sizes, found, machine, options)
        print(f"\n{text}")
        if options.json:
            options.json.write_text(json.dumps(values, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
