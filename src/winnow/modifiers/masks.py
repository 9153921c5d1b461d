"""The masks of pruned parameters: matched by name, kept through every optimizer step, saved in checkpoints."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from winnow.config.modifiers import ENCODER
from winnow.errors import UserError
from winnow.functional.mask import count_zeros, pack_mask, unpack_mask
from winnow.functional.structure import Structure
from winnow.modifiers.patterns import matching


class PruningMasks:
    """Masks of some of a model's linear weights.

    A pruned weight is zero; its gradient is set to zero before every optimizer step and its optimizer moments when it
    is pruned, so that the step leaves it at zero. This costs one pass over the gradients. Pruned weights do not count
    in the norm that gradients are clipped to.
    """

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        self.parameters = parameters
        self._keep: list[Tensor] = []  # as 1.0 and 0.0: on a CPU a product with bool is several times slower

    @torch.no_grad()
    def update(self, masks: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> dict[str, int]:
        """Prune by new masks: bool, the shapes of the parameters in their order.

        Returns:
            The number of zeros of each parameter, counted in the masks.
        """
        weights = list(self.parameters.values())
        if not self._keep:
            self._keep = [torch.empty_like(weight, requires_grad=False) for weight in weights]
        for weight, keep, mask in zip(weights, self._keep, masks, strict=True):
            keep.copy_(mask.view(torch.uint8))  # on a CPU torch converts bool several times slower
            weight.mul_(keep)
            for moment in optimizer.state.get(weight, {}).values():
                if isinstance(moment, Tensor) and moment.shape == weight.shape:
                    moment.mul_(keep)
        return {name: count_zeros(mask) for name, mask in zip(self.parameters, masks, strict=True)}

    def remove(self, optimizer: torch.optim.Optimizer) -> dict[str, int]:
        """Let all weights train again, with a fresh optimizer state.

        Returns:
            The number of zeros that stay zero in each parameter: 0.
        """
        self._keep = []
        for weight in self.parameters.values():
            optimizer.state.pop(weight, None)
        return dict.fromkeys(self.parameters, 0)

    @torch.no_grad()
    def apply_to_gradients(self) -> None:
        if self._keep:
            self._move_to_weights()
            pairs = zip(self.parameters.values(), self._keep, strict=True)
            trained = [(weight.grad, keep) for weight, keep in pairs if weight.grad is not None]
            if trained:  # empty if all are frozen
                torch._foreach_mul_([grad for grad, _ in trained], [keep for _, keep in trained])

    def _move_to_weights(self) -> None:
        """Move the masks to the device of the weights: Lightning reads a checkpoint before it moves the model."""
        device = next(iter(self.parameters.values())).device
        if self._keep[0].device != device:
            self._keep = [keep.to(device) for keep in self._keep]

    def pruned(self) -> dict[str, int]:
        """Number of pruned weights of each parameter, counted in the masks; empty before the first update."""
        pairs = zip(self.parameters, self._keep, strict=False)
        return {name: keep.numel() - int(keep.count_nonzero()) for name, keep in pairs}

    def zeros(self) -> dict[str, int]:
        """Number of zeros of each parameter, counted in the weights."""
        return {name: count_zeros(p) for name, p in self.parameters.items()}

    def sparsity(self) -> float:
        """Fraction of zeros over all matched parameters."""
        return sum(self.zeros().values()) / sum(p.numel() for p in self.parameters.values())

    def state_dict(self) -> dict[str, Any]:
        if not self._keep:
            return {}
        return {name: pack_mask(keep.bool()) for name, keep in zip(self.parameters, self._keep, strict=True)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._keep = [
            unpack_mask(state[name].to(p.device), p.shape).to(p.dtype)
            for name, p in self.parameters.items()
            if name in state
        ]


def linear_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weight of every linear layer by its full name, without a decoder that is tied to the embeddings."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    linear = {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    weights = {name: module.get_parameter("weight") for name, module in linear.items()}
    return {name: weight for name, weight in weights.items() if id(weight) not in embeddings}


def encoder_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The linear weights inside the encoder's layers, by full name: what sparsity is measured over.

    Of a model whose layers have other names, those inside any numbered modules.
    """
    weights = linear_weights(model)
    named = {name: weight for name, weight in weights.items() if re.fullmatch(ENCODER, name)}
    return named or {name: weight for name, weight in weights.items() if re.search(r"\.\d+\.", name)}


def match_linear_weights(model: nn.Module, patterns: Iterable[str]) -> dict[str, nn.Parameter]:
    """The linear weights whose full names match a pattern whole; a pattern that matches none is an error."""
    candidates = linear_weights(model)
    matched = matching(patterns, candidates, setting="params", kind="linear weights")
    return {name: weight for name, weight in candidates.items() if name in matched}


def check_rows(weights: Mapping[str, nn.Parameter], structure: Structure, modifier: str) -> None:
    """Refuse a weight whose rows do not divide into the blocks or groups of a structure."""
    for name, weight in weights.items():
        if weight.shape[-1] % structure.width:
            raise UserError(
                f"{modifier}: structure {structure} needs rows that divide by {structure.width}, but "
                f"{name} is {tuple(weight.shape)}; leave it out by params."
            )


def match_targets(names: Collection[str], targets: Mapping[str, float]) -> dict[str, float]:
    """The sparsity of each name, by the first pattern that matches it whole.

    A pattern that matches no name, or only names that an earlier pattern matches, is an error.
    """
    found: dict[str, float] = {}
    for pattern, target in targets.items():
        hits = matching([pattern], names, setting="final_sparsity", kind="linear weights")
        left = [name for name in names if name in hits and name not in found]
        if not left:
            raise UserError(
                f"final_sparsity: earlier patterns match all names that '{pattern}' matches; put it before them or "
                "leave it out."
            )
        found |= dict.fromkeys(left, target)
    return found
