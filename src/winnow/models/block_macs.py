"""Multiply-accumulates of a model by the heads and neurons of its layers: a latency that no machine influences."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from winnow.config.modifiers import StructureSettings
from winnow.functional.latency_table import LatencyTable, neuron_levels
from winnow.models.structures import Block, structure_blocks


def macs_table(model: PreTrainedModel, settings: StructureSettings) -> LatencyTable:
    """The table of multiply-accumulates of one call, whose batch and length the settings give.

    Blocks of zeros, which the sparse engine skips, are not counted in linear layers of the encoder.

    Args:
        model: stock, on the CPU; it stays as it is.
        settings: of the modifier.
    """
    blocks = structure_blocks(model)
    heads, neurons = blocks[:2]
    hidden = model.get_submodule(heads.output).get_parameter("bias").numel()
    tokens = settings.sequence_length
    linear = (4 * hidden * heads.width * tokens, 2 * hidden * tokens)  # of a head, of a neuron
    products = 2 * tokens * tokens * heads.width  # of a head
    rest = float(settings.batch_size * _outside(model, blocks, tokens))
    kept = 1 - settings.block4_sparsity

    def costs(kept: float) -> tuple[dict[int, float], dict[int, float]]:
        head, neuron = kept * linear[0] + products, kept * linear[1]
        return (
            {n: n * head * settings.batch_size for n in range(heads.count + 1)},
            {n: n * neuron * settings.batch_size for n in neuron_levels(neurons.count)},
        )

    dense = LatencyTable(*costs(1.0), rest, 1.0).total([(heads.count, neurons.count)] * (len(blocks) // 2))
    return LatencyTable(*costs(kept), rest, dense)


@torch.no_grad()
def _outside(model: PreTrainedModel, blocks: Sequence[Block], tokens: int) -> int:
    """Multiply-accumulates of the linear layers outside of the blocks, of one text."""
    inside = {name for block in blocks for name in (*block.inputs, block.output)}
    batch, length = model.dummy_inputs["input_ids"].shape
    total = 0

    def count(linear: Any, inputs: tuple[Tensor]) -> None:
        nonlocal total
        per_token = inputs[0].numel() // linear.in_features == batch * length  # else for each text
        total += linear.weight.numel() * (tokens if per_token else 1)

    outside = [m for name, m in model.named_modules() if isinstance(m, nn.Linear) and name not in inside]
    hooks = [module.register_forward_pre_hook(count) for module in outside]
    training = model.training
    try:
        model.train(False)(**{name: x.to(model.device) for name, x in model.dummy_inputs.items()})
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return total
