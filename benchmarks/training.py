"""Samples per second of Hugging Face's Trainer and of Winnow on the same examples: ``python -m benchmarks.training``.

In each round every variant trains for one epoch, one after the other, on the same examples and from the same weights.
A ratio compares two speeds of the same round, so a machine that slows down affects both. Whole steps are timed: data
loading, forward, backward, gradient clipping, optimizer and schedule. A short epoch of each variant warms up first.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.runs import Bench, prepare
from winnow.errors import short_errors
from winnow.extras import require_extra
from winnow.machine import describe_machine, machine_lines, spread, summarise
from winnow.training.trainer import best_precision

VARIANTS = {
    "trainer padded": "Trainer, padded to 128, fp32",
    "trainer grouped": "Trainer, padded to the longest text of a batch, grouped by length, {precision}",
    "trainer equal": "Trainer on the same batches as Winnow, with the same padding, {precision}",
    "winnow": "Winnow, dense",
    "winnow masks": "Winnow, 80 % pruned, masks kept",
    "winnow distillation": "Winnow, distilled from a live teacher of the same size",
    "winnow cached distillation": "Winnow, distilled from a teacher whose outputs are read from the cache",
    "winnow quarter": "Winnow, a quarter of the heads and neurons of every layer",
    "winnow quantised": "Winnow, 8-bit quantisation from the first step on, with observers",
    "winnow frozen": "Winnow, 8-bit quantisation from the first step on, grids frozen after it",
    "winnow fp32": "Winnow, dense, fp32",
    "winnow quantised fp32": "Winnow, 8-bit quantisation from the first step on, with observers, fp32",
    "winnow frozen fp32": "Winnow, 8-bit quantisation from the first step on, grids frozen after it, fp32",
}
# Ratio -> the two variants whose samples per second are divided, and the target.
RATIOS = {
    "Speed: Winnow / Trainer padded in fp32": ("winnow", "trainer padded", "at least 8"),
    "Speed: Winnow / Trainer grouped": ("winnow", "trainer grouped", ""),
    "Speed: Winnow / Trainer at equal settings": ("winnow", "trainer equal", "at least 1.0"),
    "Step time: masks kept / dense": ("winnow", "winnow masks", "at most 1.03"),
    "Step time: live teacher / dense": ("winnow", "winnow distillation", ""),
    "Step time: cached teacher / dense": ("winnow", "winnow cached distillation", "at most 1.05"),
    "Step time: quantised / dense": ("winnow", "winnow quantised", "at most 1.15"),
    "Step time: quantised with frozen grids / dense": ("winnow", "winnow frozen", "at most 1.15"),
    "Step time: quantised / dense, both in fp32": ("winnow fp32", "winnow quantised fp32", "at most 1.15"),
    "Step time: quantised with frozen grids / dense, both in fp32": (
        "winnow fp32",
        "winnow frozen fp32",
        "at most 1.15",
    ),
    "Step time: a quarter of heads and neurons / dense": ("winnow", "winnow quarter", "at most 0.5"),
}


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, list[float]]:
    """Samples per second of each variant in each round; each round starts with another variant."""
    names = [name for name in VARIANTS if name in options.variants]
    for name in names:
        bench.train(name, options.warmup_batches)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for i in range(options.rounds):
        shift = i % len(names)
        for name in names[shift:] + names[:shift]:
            rates[name].append(
                bench.train(name, options.padded_batches if name == "trainer padded" else options.batches)
            )
        print(
            f"round {i + 1} of {options.rounds}: " + ", ".join(f"{n} {r[-1]:.0f}" for n, r in rates.items()), flush=True
        )
    return rates


def report(
    rates: dict[str, list[float]], machine: dict[str, Any], options: argparse.Namespace
) -> tuple[str, dict[str, Any]]:
    """The tables as Markdown, and all figures as plain values."""
    speeds = {name: summarise(values) for name, values in rates.items()}
    lines = [
        machine_lines(machine),
        "",
        f"{options.rounds} rounds of {options.batches} batches of {options.batch_size}",
        "",
    ]
    lines += ["| variant | samples per second: median (min..max) |", "|---|---|"]
    precision = best_precision("cpu").removesuffix("-mixed").removesuffix("-true")
    lines += [f"| {VARIANTS[name].format(precision=precision)} | {spread(speeds[name])} |" for name in rates]
    lines += ["", "| ratio within a round | median (min..max) | target |", "|---|---|---|"]
    ratios = {}
    for label, (numerator, denominator, target) in RATIOS.items():
        if numerator in rates and denominator in rates:
            ratios[label] = summarise([a / b for a, b in zip(rates[numerator], rates[denominator], strict=True)])
            lines.append(f"| {label} | {spread(ratios[label])} | {target} |")
    values = {
        "machine": machine,
        "options": vars(options),
        "rates": rates,
        "samples_per_second": speeds,
        "ratios": ratios,
    }
    return "\n".join(lines), values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with the files of SST-2; default: download from the hub")
    parser.add_argument("--model", help="folder of a MiniLM model; default: download from the hub")
    parser.add_argument("--batches", type=int, default=50, help="training batches in a round")
    parser.add_argument(
        "--padded-batches",
        type=int,
        default=4,
        help="training batches in a round of the slow variant, Trainer padded in fp32",
    )
    parser.add_argument(
        "--warmup-batches", type=int, default=2, help="training batches before the first round, not timed"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=list(VARIANTS),
        metavar="NAME",
        help="some of: " + ", ".join(VARIANTS),
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    with short_errors():
        require_extra("python -m benchmarks.training", extra="bench", package="accelerate")
        run(options)


def run(options: argparse.Namespace) -> None:
    machine = describe_machine(("torch", "transformers", "accelerate", "pytorch-lightning"))
    bench = prepare(options)
    text, values = report(measure(bench, options), machine, options)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(values, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
