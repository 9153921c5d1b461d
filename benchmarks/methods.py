"""What the pruning methods cost: ``python -m benchmarks.methods``.

Each method trains MiniLM for one epoch on the first batches of SST-2, without a teacher and in a process of its own,
and prunes on the way. In each round every method runs once, each round starts with another one, and a ratio compares
times of the same round.
"""

import argparse
import copy
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from benchmarks.runs import compose, only_timed, prepare, winnow_training
from benchmarks.structures import peak_gigabytes
from winnow.errors import short_errors
from winnow.machine import describe_machine, machine_lines, spread, summarise, three_digits
from winnow.models.teacher import Teacher
from winnow.modifiers.pruning import Pruning
from winnow.training.trainer import callbacks_of

DENSE = "dense"
METHODS = ("gmp", "movement", "acdc", "obs", "prune")
_TWICE = ["start_epoch=0.25", "end_epoch=0.75", "update_frequency=0.5", "initial_sparsity=0.5"]
_ONCE = ["start_epoch=0", "end_epoch=0.75", "update_frequency=0.25"]  # AC/DC: the first phase is dense, the last not


class Stopwatch(pl.Callback):
    """Seconds of the optimizer steps and, apart from them, of the pruning steps. It is the last callback."""

    def __init__(self, pruning: Pruning[Any] | None) -> None:
        self.prunings: list[float] = []
        if pruning is not None:
            self._prune = pruning.at_step
            self._is_update = pruning.is_update
            pruning.at_step = self._timed  # type: ignore[assignment, method-assign]  # measured from outside

    def _timed(self, step: int, *args: Any) -> Any:
        started = time.perf_counter()
        zeros = self._prune(step, *args)
        if self._is_update(step):
            self.prunings.append(time.perf_counter() - started)
        return zeros

    def on_train_start(self, *args: Any) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        self.steps = time.perf_counter() - self._started - sum(self.prunings)


def measure(method: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of all steps and of a pruning step, and the largest memory of the process in GB."""
    bench = prepare(options)
    windows = [f"recipe.pruning.{setting}" for setting in (_ONCE if method == "acdc" else _TWICE)]
    config = compose(options, ["recipe=dense"] if method == DENSE else [f"recipe={method}90", *windows])
    teacher = Teacher(copy.deepcopy(bench.student))  # which no modifier asks
    examples = bench.splits["train"].select(range(options.batches * options.batch_size))
    with tempfile.TemporaryDirectory() as folder:
        trainer, module, data = winnow_training(
            config, bench.task, bench.tokenizer, bench.student, examples, Path(folder), teacher=teacher, cached=False
        )
        watch = Stopwatch(next((each for each in callbacks_of(trainer) if isinstance(each, Pruning)), None))
        only_timed(trainer, watch)
        trainer.fit(module, data)
    pruning = sum(watch.prunings) / max(1, len(watch.prunings))
    return {"steps": watch.steps, "pruning": pruning, "memory": peak_gigabytes()}


def measure_all(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """What `measure` returns, for each method and round."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in [DENSE, *options.methods]}
    names = list(found)
    for i in range(options.rounds):
        shift = i % len(names)
        for name in names[shift:] + names[:shift]:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                found[name].append(alone.submit(measure, name, options).result())
            print(f"round {i + 1} of {options.rounds}: {name}", flush=True)
    return found


def report(found: dict[str, list[dict[str, float]]]) -> str:
    lines = ["| method | a step, of a dense one | a pruning step, s | memory above dense, GB |", "|---|---|---|---|"]
    for name, runs in found.items():
        pairs = list(zip(runs, found[DENSE], strict=True))
        step = summarise([run["steps"] / dense["steps"] for run, dense in pairs])
        memory = summarise([run["memory"] - dense["memory"] for run, dense in pairs])
        seconds = summarise([run["pruning"] for run in runs])
        if name != DENSE:
            lines.append(f"| `{name}` | {spread(step)} | {spread(seconds)} | {three_digits(memory['median'])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with the files of SST-2; default: download from the hub")
    parser.add_argument("--model", help="folder of a MiniLM model; default: download from the hub")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--batches", type=int, default=40, help="of the epoch; default: 40")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.set_defaults(padded_batches=0)
    options = parser.parse_args()
    with short_errors():
        machine = describe_machine(("torch", "transformers", "pytorch-lightning"))
        found = measure_all(options)
        print(f"\n{machine_lines(machine)}\n\n{report(found)}")
        if options.json:
            options.json.write_text(json.dumps({"machine": machine, "runs": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
