"""Choose the heads and neurons of a model that stay within a time, and refit the weights that read them."""

import copy
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from winnow.functional.latency_table import LatencyTable
from winnow.functional.structure_search import BlockCosts, search
from winnow.functional.structured_pruning import (
    Refits,
    RemovalOrder,
    add_inputs,
    damped,
    order_by_scores,
    removal_order,
)
from winnow.models.structures import Block, kept_structures, remove_structures
from winnow.modifiers.calibration_texts import Batch, some_batches
from winnow.modifiers.probe import Probe
from winnow.tasks.task import Task

_MOST_TOKENS = 65_536  # of the calibration: more than twenty times the widest layer of a BERT-base
_PROBE_TEXTS, _PROBE_TOKENS = 256, 4096
_EVERY = 8  # batch of the calibration is one of them, so that short and long texts are among them
_AT_ONCE = {"heads": 1, "neurons": 8}  # removed before the scores of the others are updated

Refitted = tuple[Tensor, Tensor]  # weight and bias of a block's output


@dataclass(frozen=True)
class Choice:
    """What stays of a model.

    Args:
        kept: the structures of each block.
        outputs: new weight and bias of the output of each block that loses some.
        speedup: by the latency table.
        divergence: of the outputs of the cut model from those of the whole one, in nats for a classification.
        source: which candidate it is, in words.
        seconds: that each part of the choice took, by its name.
    """

    kept: dict[Block, list[int]]
    outputs: dict[Block, Refitted]
    speedup: float
    divergence: float
    source: str
    seconds: dict[str, float]


def choose_structures(
    model: nn.Module,
    task: Task,
    batches: Iterable[Batch],
    table: LatencyTable,
    *,
    target_speedup: float,
    samples: int,
    restarts: int,
) -> Choice:
    """The structures with which a model loses least at a speed, and the weights that make up for the others.

    A block loses its structures in an order by the error of its output (optimal brain surgeon; ZipLM, Kurtic et al.
    2023, arXiv:2302.04089), or by the Fisher information of masks (Kwon et al. 2022, arXiv:2204.09656). With both, how
    many every block loses is searched (SPDY, Frantar & Alistarh 2022, arXiv:2201.13096), and of all candidates that one
    is chosen whose outputs differ least on some of the texts.

    Args:
        model: with a trained head; not changed.
        batches: of training examples, as many as ``samples``; the same ones give the same choice.
        table: of the model; its cost of no structures is within the target.
        target_speedup: of the whole model by the table.
        samples: texts of the calibration.
        restarts: random variations of each search.
    """
    present = kept_structures(model)
    speedup = table.speedup(sizes(present))
    if speedup >= target_speedup or not any(present.values()):
        return Choice(present, {}, speedup, 0.0, "nothing has to go", {})
    began = time.monotonic()
    whole = copy.deepcopy(model).requires_grad_(False).train(False)
    device = next(whole.parameters()).device
    used = [{name: x.to(device) for name, x in batch.items()} for batch in some_batches(batches, samples, _MOST_TOKENS)]
    hessians, information = _calibrate(whole, task, used)
    calibrated = time.monotonic()
    probe = Probe(task, some_batches(used[::_EVERY], _PROBE_TEXTS, _PROBE_TOKENS), whole)
    orders = {
        "least squares": {block: _obs_order(whole, block, hessian) for block, hessian in hessians.items()},
        "Fisher": {block: order_by_scores(scores) for block, scores in information.items()},
    }
    ordered = time.monotonic()
    budget = table.dense / target_speedup - table.rest
    choices = (_Candidates(whole, probe, table, hessians, orders[name]).best(budget, restarts, name) for name in orders)
    best = min(choices, key=lambda choice: choice.divergence)
    seconds = {
        "calibration": calibrated - began,
        "orders": ordered - calibrated,
        "search": time.monotonic() - ordered,
    }
    return replace(best, seconds=seconds)


def sizes(kept: Mapping[Block, Sequence[int]]) -> list[tuple[int, int]]:
    """The number of heads and neurons of each layer."""
    counts = {(block.layer, block.kind): len(numbers) for block, numbers in kept.items()}
    layers = sorted({layer for layer, _ in counts})
    return [(counts[layer, "heads"], counts[layer, "neurons"]) for layer in layers]


def apply_choice(model: nn.Module, choice: Choice) -> None:
    """Remove from a model what was not chosen, and give the outputs of its blocks their new weights."""
    remove_structures(model, choice.kept)
    for block, (weight, bias) in choice.outputs.items():
        set_output(model, block, weight, bias)


@torch.no_grad()
def set_output(model: nn.Module, block: Block, weight: Tensor, bias: Tensor) -> None:
    """Replace weight and bias of a block's output; an empty block has a bias only."""
    output: Any = model.get_submodule(block.output)
    output.bias.copy_(bias)
    if weight.numel():
        output.weight.copy_(weight)


def _calibrate(
    model: nn.Module, task: Task, batches: Iterable[Batch]
) -> tuple[dict[Block, Tensor], dict[Block, Tensor]]:
    """For each block the damped Hessian of its output, (width + 1, width + 1), and the information of each structure.

    That is the sum over batches of the squared gradient of the loss by a factor of the structure, which is 1.
    """
    kept = {block: len(numbers) for block, numbers in kept_structures(model).items() if numbers}
    device = next(model.parameters()).device
    information = {block: torch.zeros(count, device=device) for block, count in kept.items()}
    factors: dict[Block, Tensor] = {}
    hessians: dict[Block, Tensor] = {}
    padding: list[Tensor] = []

    def watch(block: Block) -> Any:
        size = kept[block] * block.width + 1
        hessians[block] = torch.zeros(size, size, dtype=torch.float64, device=device)

        def hook(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            (x,) = inputs
            add_inputs(hessians[block], x.detach()[padding[-1]])
            factors[block] = torch.ones(kept[block], device=device, requires_grad=True)
            return (x * factors[block].repeat_interleave(block.width),)

        return model.get_submodule(block.output).register_forward_pre_hook(hook)

    hooks = [watch(block) for block in kept]
    for batch in batches:
        padding.append(batch["attention_mask"].bool())
        loss = task.training_loss(task.outputs(model, batch), batch)
        gradients = torch.autograd.grad(loss, [factors[block] for block in kept])
        for block, gradient in zip(kept, gradients, strict=True):
            information[block] += gradient.square()
    for hook in hooks:
        hook.remove()
    return {block: damped(hessian) for block, hessian in hessians.items()}, information


def _obs_order(model: nn.Module, block: Block, hessian: Tensor) -> RemovalOrder:
    weight = model.get_submodule(block.output).get_parameter("weight")
    return removal_order(weight, hessian, block.width, _AT_ONCE[block.kind])


class _Candidates:
    """Cut models whose blocks lose their structures in given orders."""

    def __init__(
        self,
        whole: nn.Module,
        probe: Probe,
        table: LatencyTable,
        hessians: Mapping[Block, Tensor],
        orders: Mapping[Block, RemovalOrder],
    ) -> None:
        self.whole, self.probe, self.table, self.hessians, self.orders = whole, probe, table, hessians, orders
        self.present = kept_structures(whole)
        self.blocks = list(orders)
        costs = {"heads": table.heads, "neurons": table.neurons}
        self.costs = [self._costs(block, costs[block.kind]) for block in self.blocks]
        self._refits: dict[Block, Refits] = {}

    def _costs(self, block: Block, times: Mapping[int, float]) -> BlockCosts:
        errors = self.orders[block].errors
        levels = [level for level in times if level < len(errors)]
        return BlockCosts(
            levels, [times[level] for level in levels], [float(errors[len(errors) - 1 - level]) for level in levels]
        )

    def best(self, budget: float, restarts: int, source: str) -> Choice:
        """The best choice within a budget."""
        levels, divergence = search(
            self.costs, budget, self._divergence, self._divergence_alone, restarts=restarts, seed=0
        )
        counts = self._counts(levels)
        kept = self._kept(counts)
        outputs = {block: self._refitted(block, n) for block, n in counts.items() if n < len(self.present[block])}
        return Choice(kept, outputs, self.table.speedup(sizes(kept)), divergence, source, {})

    def _counts(self, levels: Sequence[int]) -> dict[Block, int]:
        """Structures of each block by the indices of their levels."""
        return {block: costs.levels[i] for block, costs, i in zip(self.blocks, self.costs, levels, strict=True)}

    def _kept(self, counts: Mapping[Block, int]) -> dict[Block, list[int]]:
        """The structures that stay, by their numbers in a stock model; other blocks stay as they are."""
        kept = {block: list(numbers) for block, numbers in self.present.items()}
        for block, count in counts.items():
            kept[block] = [self.present[block][i] for i in self.orders[block].kept(count)]
        return kept

    def _refitted(self, block: Block, count: int) -> Refitted:
        """The output of a block with so many structures, fitted to that with all."""
        if block not in self._refits:
            output: Any = self.whole.get_submodule(block.output)
            last_first = self.orders[block].order[::-1]
            self._refits[block] = Refits(output.weight, output.bias, self.hessians[block], last_first, block.width)
        weight, bias = self._refits[block].keep(count)
        return weight.float(), bias.float()

    def _cut(self, counts: Mapping[Block, int]) -> nn.Module:
        model = copy.deepcopy(self.whole)
        remove_structures(model, self._kept(counts))
        for block, count in counts.items():
            if count < len(self.present[block]):
                set_output(model, block, *self._refitted(block, count))
        return model

    def _divergence(self, levels: list[int]) -> float:
        return self.probe.divergence(self._cut(self._counts(levels)))

    def _divergence_alone(self, number: int, level: int) -> float:
        return self.probe.divergence(self._cut({self.blocks[number]: self.costs[number].levels[level]}))
