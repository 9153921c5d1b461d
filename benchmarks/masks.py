"""What pruning costs: ``python -m benchmarks.masks``.

It measures three things, on models of the shapes of MiniLM and BERT-base with random weights:

- the time of a training step that keeps masks, relative to a dense step;
- the time of a mask update, in elementwise passes over the pruned weights: one pass is ``torch.mul(w, 2.0, out=...)``;
- the size of a checkpoint with masks, relative to one without.

In each round everything that is compared runs once, and each round starts with another candidate. A ratio compares two
times of the same round, so a machine that slows down affects both.
"""

import argparse
import functools
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from winnow.config.modifiers import ENCODER
from winnow.functional.structure import zeros_count
from winnow.machine import describe_machine, machine_lines, spread, summarise
from winnow.modifiers.clock import Clock, Window
from winnow.modifiers.gmp import MagnitudePruning
from winnow.training.trainer import best_precision

# Encoder layers, hidden size, size of the feed-forward layer, attention heads.
MODELS = {"minilm": (6, 384, 1536, 12), "bert_base": (12, 768, 3072, 12)}
# Kind of update -> scope, structure, final sparsity, progress on a linear ramp (fraction) at which it is measured.
UPDATES = {
    "matrix": ("matrix", "unstructured", 0.8, 1.0),
    "global": ("global", "unstructured", 0.8, 1.0),
    "block4": ("matrix", "block4", 0.8, 1.0),
    "2:4": ("matrix", "2:4", 0.5, 1.0),
    "2:4 ramp": ("matrix", "2:4", 0.5, 0.5),
}
RAMP = 4  # length of the ramp in optimizer steps
PASSES = 4  # elementwise passes in one timing


def time_rounds(count: int, work: dict[str, Callable[[], Any]], before: Callable[[], Any]) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round.

    Args:
        count: rounds, after one that warms up and is left out.
        work: the functions to time, by name.
        before: called before each of them, not timed.
    """
    names = list(work)
    times: dict[str, list[float]] = {name: [] for name in names}
    for i in range(count + 1):
        shift = i % len(names)
        for name in names[shift:] + names[:shift]:
            before()
            started = time.perf_counter()
            work[name]()
            times[name].append(time.perf_counter() - started)
    return {name: values[1:] for name, values in times.items()}


def ratios(times: dict[str, list[float]], unit: str) -> dict[str, dict[str, float]]:
    """Each time divided by the time of ``unit`` in the same round: median, minimum and maximum."""
    return {
        name: summarise([value / one for value, one in zip(values, times[unit], strict=True)])
        for name, values in times.items()
        if name != unit
    }


class Bench:
    """A model and its optimizer after one training step, and the pruning of its encoder."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        layers, hidden, intermediate, heads = MODELS[name]
        torch.manual_seed(0)
        self.model = BertForSequenceClassification(
            BertConfig(
                hidden_size=hidden,
                num_hidden_layers=layers,
                intermediate_size=intermediate,
                num_attention_heads=heads,
            )
        ).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        self.batch = torch.randint(1000, 30000, (options.batch_size, options.tokens))
        self.labels = torch.zeros(options.batch_size, dtype=torch.long)
        self.bfloat16 = best_precision("cpu") == "bf16-mixed"
        self._trainer: Any = SimpleNamespace(optimizers=[self.optimizer], loggers=[], global_step=RAMP)
        self._module: Any = SimpleNamespace(progress={}, events=[])
        self.step()

    def prune(self, scope: str, structure: str, final_sparsity: float) -> MagnitudePruning:
        """The modifier, matched to the model, with a ramp of RAMP optimizer steps."""
        pruning = MagnitudePruning(
            name="pruning",
            params=[ENCODER],
            final_sparsity=final_sparsity,
            shape="linear",
            scope=scope,
            structure=structure,
        )
        pruning.match(self.model)
        pruning.clock = Clock(steps_per_epoch=RAMP, total_steps=RAMP)
        pruning.window = Window(start=0, end=RAMP, interval=1)
        return pruning

    def step(self, after_backward: Callable[[], Any] = lambda: None) -> None:
        """One training step: forward, backward, gradient clipping, optimizer."""
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            loss = self.model(input_ids=self.batch, labels=self.labels).loss
        loss.backward()
        after_backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def update(self, pruning: MagnitudePruning, step: int) -> None:
        """One mask update of a training: masks, weights, both optimizer moments, and the sparsity that is logged."""
        pruning.at_step(step, self._trainer, self._module)


def measure_steps(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    """Time of a step that keeps masks, relative to a step of the same model without masks."""
    pruning = bench.prune("matrix", "unstructured", 0.8)
    bench.update(pruning, RAMP)
    work: dict[str, Callable[[], Any]] = {
        "dense": bench.step,
        "masks": functools.partial(bench.step, pruning.masks.apply_to_gradients),
    }
    return ratios(time_rounds(options.steps, work, before=lambda: None), "dense")["masks"]


def measure_updates(bench: Bench, update: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time of each part of an update in passes, starting from dense weights and from the middle of the ramp."""
    scope, structure, final_sparsity, progress = UPDATES[update]
    pruning = bench.prune(scope, structure, final_sparsity)
    end = round(RAMP * progress)
    weights = [weight.detach() for weight in pruning.masks.parameters.values()]
    buffers = [torch.empty_like(weight) for weight in weights]
    initial = [weight.clone() for weight in weights]
    results = []
    for start in (0, end // 2):
        torch._foreach_copy_(weights, initial)
        if start:
            bench.update(pruning, start)
        saved = [weight.clone() for weight in weights]
        new = pruning.new_masks(pruning.sparsities_at(end))
        work: dict[str, Callable[[], Any]] = {
            "pass": lambda: [
                torch.mul(w, 2.0, out=out) for w, out in PASSES * list(zip(weights, buffers, strict=True))
            ],
            "threshold and masks": functools.partial(pruning.new_masks, pruning.sparsities_at(end)),
            "applying masks": functools.partial(pruning.masks.update, new, bench.optimizer),
            "whole update": functools.partial(bench.update, pruning, end),
        }
        if options.baselines and structure == "unstructured":
            work |= {name: functools.partial(baseline_masks, weights, scope, f) for name, f in BASELINES.items()}
        times = time_rounds(options.updates, work, before=functools.partial(torch._foreach_copy_, weights, saved))
        times["pass"] = [seconds / PASSES for seconds in times["pass"]]
        results.append(
            {
                "weights": sum(weight.numel() for weight in weights),
                "from": pruning.sparsities_at(start)[0],
                "to": pruning.sparsities_at(end)[0],
                "pass_ms": 1e3 * summarise(times["pass"])["median"],
                "passes": ratios(times, "pass"),
            }
        )
    torch._foreach_copy_(weights, initial)
    return results


def threshold_by_sort(scores: Tensor, zeros: int) -> Tensor:
    return scores.sort().values[zeros - 1]


def threshold_by_kthvalue(scores: Tensor, zeros: int) -> Tensor:
    return scores.kthvalue(zeros).values


def threshold_by_partition(scores: Tensor, zeros: int) -> Tensor:
    return torch.tensor(np.partition(scores.numpy(), zeros - 1)[zeros - 1])


BASELINES = {"sort": threshold_by_sort, "kthvalue": threshold_by_kthvalue, "np.partition": threshold_by_partition}


def baseline_masks(weights: list[Tensor], scope: str, threshold: Callable[[Tensor, int], Tensor]) -> None:
    """Compute masks of 80 % sparsity in the obvious way: find the threshold, then compare."""
    for group in [[weight] for weight in weights] if scope == "matrix" else [weights]:
        scores = torch.cat([weight.abs().flatten() for weight in group])
        torch.gt(scores, threshold(scores, zeros_count(scores.numel(), 0.8)))


class ByteCounter(io.BytesIO):
    """A file that counts the bytes written to it and stores none."""

    size = 0

    def write(self, data: Any, /) -> int:
        count = memoryview(data).nbytes
        self.size += count
        return count


def measure_checkpoint(bench: Bench) -> dict[str, float]:
    """Bytes of a checkpoint (weights and optimizer) without masks, and with masks over the whole encoder."""
    pruning = bench.prune("matrix", "unstructured", 0.8)
    bench.update(pruning, RAMP)
    state = {"state_dict": bench.model.state_dict(), "optimizer_states": [bench.optimizer.state_dict()]}
    sizes = []
    for callbacks in ({}, {pruning.state_key: pruning.state_dict()}):
        file = ByteCounter()
        torch.save({**state, "callbacks": callbacks}, file)
        sizes.append(file.size)
    return {"bytes": sizes[0], "with_masks": sizes[1], "ratio": sizes[1] / sizes[0]}


def report(results: dict[str, dict[str, Any]]) -> str:
    lines = ["| model | ratio | median (min..max) | target |", "|---|---|---|---|"]
    for model, result in results.items():
        lines.append(f"| {model} | time of a step with masks / dense step | {spread(result['step'])} | at most 1.03 |")
        size = result["checkpoint"]["ratio"]
        lines.append(f"| {model} | size of a checkpoint with masks / without | {size:.3f} | at most 1.05 |")
    parts = ("threshold and masks", "applying masks", "whole update")
    lines += ["", f"| model | mask update | one pass, ms | {' | '.join(parts)} |", "|---|---|---|---|---|---|"]
    baselines = []
    for model, result in results.items():
        for kind, starts in result["updates"].items():
            for each in starts:
                head = f"| {model} | {kind}, {100 * each['from']:g} to {100 * each['to']:g} %"
                lines.append(
                    f"{head} | {each['pass_ms']:.1f} | {' | '.join(spread(each['passes'][part]) for part in parts)} |"
                )
                passes = [spread(each["passes"][name]) for name in BASELINES if name in each["passes"]]
                baselines += [f"{head} | {' | '.join(passes)} |"] if passes else []
    if baselines:
        lines += ["", f"| model | baseline masks | {' | '.join(BASELINES)} |", "|---|---|---|---|---|", *baselines]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--kinds", nargs="+", choices=UPDATES, default=list(UPDATES), help="kinds of mask update")
    parser.add_argument("--steps", type=int, default=15, help="rounds of training steps")
    parser.add_argument("--updates", type=int, default=9, help="rounds of mask updates")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument(
        "--baselines",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="also measure masks by sort, kthvalue and np.partition",
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    machine = describe_machine(("torch", "transformers", "numpy"))
    results = {}
    for name in options.models:
        bench = Bench(name, options)
        results[name] = {
            "updates": {kind: measure_updates(bench, kind, options) for kind in options.kinds},
            "step": measure_steps(bench, options),
            "checkpoint": measure_checkpoint(bench),
        }
    print(
        f"{machine_lines(machine)}\n{options.steps} rounds of steps of {options.batch_size} x {options.tokens} tokens, "
        f"{options.updates} rounds of mask updates, in passes over the pruned weights\n\n{report(results)}"
    )
    if options.json:
        options.json.write_text(
            json.dumps({"machine": machine, "options": vars(options), "results": results}, indent=2, default=str) + "\n"
        )


if __name__ == "__main__":
    main()
