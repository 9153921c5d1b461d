"""Which matrices bear pruning: how far a model's outputs move when each matrix is pruned alone."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from winnow.config.run import RunConfig
from winnow.data.splits import load_splits
from winnow.errors import UserError
from winnow.functional.mask import pruning_mask
from winnow.functional.sparsity_allocation import allocate
from winnow.functional.structure import Structure
from winnow.modifiers.calibration_texts import some_batches
from winnow.modifiers.modifier import build_modifiers
from winnow.modifiers.probe import Probe
from winnow.modifiers.pruning import Pruning
from winnow.text import duration
from winnow.training.run import prepare
from winnow.training.trainer import check_hardware


@dataclass(frozen=True)
class Sensitivity:
    """The divergence of a pruned model is the mean distance of its outputs from those of the model before, in nats
    for a classification.

    Args:
        examples: that it was measured on.
        sparsities: at which each matrix was pruned alone, ascending.
        alone: divergence at each of ``sparsities``, by the name of the matrix.
        planned: sparsities of the recipe.
        chosen: sparsities with the least sum of ``alone`` and as many zeros in all as those of the recipe.
        together: divergence with all matrices pruned, ``planned`` and ``chosen``.
    """

    examples: int
    sparsities: list[float]
    alone: dict[str, list[float]]
    planned: dict[str, float]
    chosen: dict[str, float]
    together: dict[str, float]


def measure(config: RunConfig, sparsities: Sequence[float], samples: int, folder: Path) -> Sensitivity:
    """Prune each matrix of a recipe alone, by magnitude and in the recipe's structure.

    Divergence is the loss of distillation at temperature 1 with the model itself as teacher: it needs no labels, is 0
    without pruning and is not hidden by a training loss near 0, as that of a task may be.

    Args:
        config: its recipe has exactly one modifier with `PruningSettings`.
        sparsities: ascending, the last not below a final sparsity of the recipe; N:M has a single one instead.
        samples: training examples, taken in whole batches.
        folder: of what preparation writes.

    Raises:
        UserError: for a model without a trained head.
    """
    check_hardware(config.trainer)
    prepared = prepare(config, folder, load_splits(config.task.data))
    if prepared.student.new_head:
        raise UserError(
            "the model has no head that was trained for this task; name a finished run with model.name=FOLDER, and "
            "its task."
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: nn.Module = prepared.student.to(device).train(False)
    (pruning,) = (modifier for modifier in build_modifiers(config.recipe) if isinstance(modifier, Pruning))
    pruning.match(model)
    structure, planned = pruning.structure, pruning.targets
    levels = [structure.sparsity] if structure.sparsity else list(sparsities)
    batches = some_batches(prepared.data.train_dataloader(), samples)
    began = time.monotonic()
    probe = Probe(prepared.task, [{name: x.to(device) for name, x in batch.items()} for batch in batches], model)
    passes, seconds = len(planned) * len(levels), time.monotonic() - began
    print(f"{passes} forward passes over {probe.texts:,} examples, about {duration(passes * seconds)}", flush=True)

    def pruned(targets: Mapping[str, float]) -> float:
        return divergence(probe, model, targets, structure)

    alone = {name: [pruned({name: sparsity}) for sparsity in levels] for name in planned}
    sizes = {name: weight.numel() for name, weight in pruning.masks.parameters.items()}
    zeros = sum(structure.zeros(size, planned[name]) for name, size in sizes.items())
    allocated = allocate([*sizes.values()], levels, [alone[name] for name in sizes], zeros)
    chosen = dict(zip(sizes, (round(sparsity, 6) for sparsity in allocated), strict=True))
    together = {"planned": pruned(planned), "chosen": pruned(chosen)}
    return Sensitivity(probe.texts, levels, alone, planned, chosen, together)


@torch.no_grad()
def divergence(probe: Probe, model: nn.Module, targets: Mapping[str, float], structure: Structure) -> float:
    """Of the model with some matrices pruned by magnitude, from the model itself; they get their weights back.

    Args:
        probe: of the unpruned model.
        targets: sparsity by the name of a matrix.
    """
    weights = {name: model.get_parameter(name) for name in targets}
    whole = {name: weight.clone() for name, weight in weights.items()}
    for name, weight in weights.items():
        weight.mul_(pruning_mask(weight, targets[name], structure))
    value = probe.divergence(model)
    for name, weight in weights.items():
        weight.copy_(whole[name])
    return value
