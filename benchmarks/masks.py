"""What magnitude masks cost: ``python -m benchmarks.masks``.

A mask update is given in elementwise passes over the weights: one pass is the median time of ``torch.mul(w, 2.0,
out=...)`` over the same tensors. Keeping masks is given relative to one fused AdamW step. Shapes are those of the
encoder's linear weights; the values are random. Updates start from dense weights and from half pruned ones.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.machine import describe_machine, machine_lines, summarise
from src.functional.mask import global_pruning_masks, pruning_mask, pruning_masks
from src.functional.structure import zeros_count
from src.modifiers.clock import Window
from src.modifiers.gmp import MagnitudePruning
from src.modifiers.masks import PruningMasks

# Encoder layers, width, width of the feed-forward layer.
MODELS = {"minilm": (6, 384, 1536), "bert_base": (12, 768, 3072)}


def encoder_parameters(model: str, seed: int = 0) -> dict[str, nn.Parameter]:
    """Random weights of the shapes of query, key, value, output and the two feed-forward layers, with gradients."""
    layers, width, inner = MODELS[model]
    generator = torch.Generator().manual_seed(seed)
    shapes = [*[(width, width)] * 4, (inner, width), (width, inner)]
    parameters = {}
    for i in range(layers * len(shapes)):
        weight = nn.Parameter(torch.randn(shapes[i % len(shapes)], generator=generator) * 0.04)
        weight.grad = torch.randn(weight.shape, generator=generator) * 1e-3
        parameters[f"{i}.weight"] = weight
    return parameters


def seconds(work: Callable[[], Any], repeats: int, before: Callable[[], Any] = lambda: None) -> float:
    """Median time of ``work``; ``before`` runs ahead of each repeat, untimed. One repeat warms up."""
    times = []
    for _ in range(repeats + 1):
        before()
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def threshold_by_sort(scores: Tensor, zeros: int) -> Tensor:
    return scores.flatten().sort().values[zeros - 1]


def threshold_by_kthvalue(scores: Tensor, zeros: int) -> Tensor:
    return scores.flatten().kthvalue(zeros).values


def threshold_by_partition(scores: Tensor, zeros: int) -> Tensor:
    return torch.tensor(np.partition(scores.flatten().numpy(), zeros - 1)[zeros - 1])


BASELINES = {"sort": threshold_by_sort, "kthvalue": threshold_by_kthvalue, "np.partition": threshold_by_partition}


def baseline_masks(
    weights: list[Tensor], scope: str, sparsity: float, threshold: Callable[[Tensor, int], Tensor]
) -> None:
    """The plain way: threshold, then one comparison."""
    groups = [[weight] for weight in weights] if scope == "matrix" else [weights]
    for group in groups:
        scores = torch.cat([weight.detach().abs().flatten() for weight in group])
        torch.gt(scores, threshold(scores, zeros_count(scores.numel(), sparsity)))


def winnow_masks(weights: list[Tensor], scope: str, sparsity: float) -> list[Tensor]:
    if scope == "global":
        return global_pruning_masks(weights, sparsity)
    return pruning_masks(weights, [sparsity] * len(weights))


class Encoder:
    """Weights of one model with their optimizer, put back to a given sparsity before each repeat."""

    def __init__(self, model: str, scope: str, sparsity: float) -> None:
        self.parameters = encoder_parameters(model)
        self.weights = list(self.parameters.values())
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-5, fused=True)
        self.optimizer.step()  # so that there are moments to clear
        self.saved = [weight.detach().clone() for weight in self.weights]
        self.sparsity = sparsity
        self.modifier = MagnitudePruning(
            name="pruning", params=[], final_sparsity=sparsity, scope=scope, start_epoch=0.0, end_epoch=0.0
        )
        self.modifier.masks = PruningMasks(self.parameters)
        self.modifier.window = Window(start=0, end=0, interval=1)
        self._trainer: Any = SimpleNamespace(optimizers=[self.optimizer], loggers=[], global_step=0)
        self._module: Any = SimpleNamespace(progress={})

    @torch.no_grad()
    def restore(self) -> None:
        torch._foreach_copy_(self.weights, self.saved)

    @torch.no_grad()
    def prune_start(self, sparsity: float) -> None:
        """Make ``sparsity`` of each matrix zero in the state that `restore` goes back to."""
        for weight in self.saved:
            weight.mul_(pruning_mask(weight, sparsity))

    def whole_update(self) -> None:
        """As in training: masks, weights, moments, and the sparsity that is reported."""
        self.modifier.at_step(0, self._trainer, self._module)


def measure(model: str, scope: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one model and scope: updates in passes, kept masks relative to an optimizer step."""
    encoder = Encoder(model, scope, options.sparsity)
    weights, masks = encoder.weights, encoder.modifier.masks
    buffers = [torch.empty_like(weight) for weight in weights]

    def one_pass() -> None:
        for weight, buffer in zip(weights, buffers, strict=True):
            torch.mul(weight.detach(), 2.0, out=buffer)

    unit = seconds(one_pass, 4 * options.repeats)
    result: dict[str, Any] = {
        "model": model,
        "scope": scope,
        "weights": sum(w.numel() for w in weights),
        "pass_ms": 1e3 * unit,
    }
    for start in (0.0, 0.5):
        encoder.prune_start(start)
        encoder.restore()
        new = winnow_masks(weights, scope, options.sparsity)
        work: dict[str, Callable[[], Any]] = {
            "threshold and masks": functools.partial(winnow_masks, weights, scope, options.sparsity),
            "applying them": functools.partial(masks.update, new, encoder.optimizer),
            "whole update": encoder.whole_update,
        }
        result[f"from {start:g}"] = {
            name: seconds(part, options.repeats, before=encoder.restore) / unit for name, part in work.items()
        }
    encoder.restore()
    result["baselines"] = {
        name: seconds(functools.partial(baseline_masks, weights, scope, options.sparsity, threshold), 1) / unit
        for name, threshold in (BASELINES if options.baselines else {}).items()
    }
    ratios = []
    for _ in range(options.repeats):
        step = seconds(encoder.optimizer.step, 3)
        ratios.append(seconds(masks.apply_to_gradients, 3) / step)
    result["kept masks over optimizer step"] = summarise(ratios)
    return result


def report(results: list[dict[str, Any]]) -> str:
    lines = ["| model | scope | start | one pass, ms | threshold and masks | applying them | whole update |"]
    lines.append("|---|---|---|---|---|---|---|")
    for result in results:
        for start in ("from 0", "from 0.5"):
            cells = " | ".join(f"{value:.1f}" for value in result[start].values())
            lines.append(f"| {result['model']} | {result['scope']} | {start} | {result['pass_ms']:.1f} | {cells} |")
    if any(result["baselines"] for result in results):
        lines += ["", f"| masks the plain way | {' | '.join(BASELINES)} |", "|---|" + "---|" * len(BASELINES)]
        for result in results:
            cells = " | ".join(f"{value:.1f}" for value in result["baselines"].values())
            lines.append(f"| {result['model']} {result['scope']} | {cells} |")
    lines += ["", "| kept masks over one fused AdamW step | median (min..max) |", "|---|---|"]
    for result in results:
        kept = result["kept masks over optimizer step"]
        lines.append(f"| {result['model']} | {kept['median']:.2f} ({kept['min']:.2f}..{kept['max']:.2f}) |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--scopes", nargs="+", choices=("matrix", "global"), default=["matrix", "global"])
    parser.add_argument("--sparsity", type=float, default=0.8, help="fraction of zeros that the update reaches")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--baselines", action=argparse.BooleanOptionalAction, default=True, help="also sort, kthvalue, np.partition"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    machine = describe_machine(("torch", "numpy"))
    results = [measure(model, scope, options) for model in options.models for scope in options.scopes]
    print(f"{machine_lines(machine)}\n\nMask updates in elementwise passes over the weights\n\n{report(results)}")
    if options.json:
        options.json.write_text(
            json.dumps({"machine": machine, "options": vars(options), "results": results}, indent=2, default=str) + "\n"
        )


if __name__ == "__main__":
    main()
