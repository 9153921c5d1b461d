"""Second-order pruning by the loss: the weights that cost it least, and what makes up for them."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from winnow.config.modifiers import SecondOrderPruningSettings
from winnow.functional.fisher import BlockFisher, InverseFisher
from winnow.functional.mask import global_pruning_masks, pruning_masks
from winnow.modifiers.calibrated_pruning import CalibratedPruning
from winnow.modifiers.calibration_texts import Batch, some_batches
from winnow.tasks.objective import Objective

_AT_ONCE = 16  # gradients that are added together


class SecondOrderPruning(CalibratedPruning[SecondOrderPruningSettings]):
    """Prune along the ramp of `MagnitudePruning` the weights whose loss raises the loss of the task least.

    At each update the inverse of the block-diagonal empirical Fisher matrix is estimated by the gradients of single
    training examples. The lowest w^2 / (2 [F^-1]_ii) are pruned, of blocks together, and the weights that stay take the
    change that costs least (The Optimal BERT Surgeon, Kurtic et al. 2022, arXiv:2203.07259). With ``scope: global``
    these estimates of the loss are compared between matrices.
    """

    Settings = SecondOrderPruningSettings

    def cost(self) -> str:
        sizes = [self._gigabytes(weight) for weight in self.masks.parameters.values()]
        parts = len(list(self._parts()))
        passes = f", in {parts} passes" if parts > 1 else ""
        return f"the gradients of {self.settings.gradients:,} examples, and {sum(sizes) / parts:.2g} GB{passes}"

    def prune(self, model: nn.Module, task: Objective, batches: Iterable[Batch], step: int) -> None:
        """Prune all matrices; their Fisher matrices are estimated in parts that fit into the memory."""
        examples = [example for batch in some_batches(batches, self.settings.gradients) for example in _each(batch)]
        examples = examples[: self.settings.gradients]
        weights, sparsities = list(self.masks.parameters.values()), self.sparsities_at(step)

        parts, masks, new = list(self._parts()), [], []

        @lru_cache(maxsize=1)  # computed anew in global scope only, and only if not all fit into the memory
        def inverses(i: int) -> list[InverseFisher]:
            return self._inverses(model, task, examples, weights[parts[i]])

        def scores(i: int) -> list[Tensor]:
            pairs = zip(inverses(i), weights[parts[i]], strict=True)
            return [inverse.scores(w, self.structure.block).masked_fill_(w == 0, -torch.inf) for inverse, w in pairs]

        if self.settings.scope == "global":
            everything = [score for i in range(len(parts)) for score in scores(i)]
            masks = global_pruning_masks(everything, sparsities[0], self.structure, signed=True)
        for i, part in enumerate(parts):
            keep = masks[part] or pruning_masks(scores(i), sparsities[part], self.structure, signed=True)
            new += [inverse.prune(w, m) for inverse, w, m in zip(inverses(i), weights[part], keep, strict=True)]
        with torch.no_grad():
            for weight, values in zip(weights, new, strict=True):
                weight.copy_(values)

    def _block(self) -> int:
        width: int = self.structure.width
        return -(-self.settings.block // width) * width

    def _parts(self) -> Iterator[slice]:
        """Neighbouring matrices whose Fisher matrices fit into the memory together, or one alone."""
        start, used = 0, 0.0
        for i, size in enumerate(map(self._gigabytes, self.masks.parameters.values())):
            if used and used + size > self.settings.memory_gigabytes:
                yield slice(start, i)
                start, used = i, 0.0
            used += size
        yield slice(start, len(self.masks.parameters))

    def _gigabytes(self, weight: Tensor) -> float:
        """Of the Fisher matrix of a weight, and of the gradients that are added to it together."""
        return 4e-9 * weight.numel() * (self._block() + _AT_ONCE)

    def _inverses(
        self, model: nn.Module, task: Objective, examples: Sequence[Batch], weights: Sequence[Tensor]
    ) -> list[InverseFisher]:
        device = weights[0].device
        fishers = [BlockFisher(weight.numel(), self._block(), device) for weight in weights]
        gathered = [torch.empty(_AT_ONCE, weight.numel(), device=device) for weight in weights]
        for start in range(0, len(examples), _AT_ONCE):
            some_examples = examples[start : start + _AT_ONCE]
            for i, example in enumerate(some_examples):
                batch = {name: x.to(device) for name, x in example.items()}
                loss = task.loss(task.outputs(model, batch), batch)
                for rows, gradient in zip(gathered, torch.autograd.grad(loss, weights), strict=True):
                    rows[i] = gradient.flatten()
            for fisher, rows in zip(fishers, gathered, strict=True):
                fisher.add(rows[: len(some_examples)])
        return [fisher.inverse(self.settings.damping) for fisher in fishers]


def _each(batch: Batch) -> Iterator[dict[str, Any]]:
    """The examples of a batch, each without padding."""
    width = batch["attention_mask"].shape[1]
    for i, length in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
        yield {
            name: x[i : i + 1, :length] if x.dim() > 1 and x.shape[1] == width else x[i : i + 1]
            for name, x in batch.items()
        }
