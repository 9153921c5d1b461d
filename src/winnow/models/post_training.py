"""Adjust the weights of a calibrated model to their quantisation: smoothed inputs, and rounding by the outputs."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from winnow.data.batch import Batch
from winnow.functional.gptq import gptq
from winnow.functional.structured_pruning import add_inputs, damped
from winnow.models.fake_quant import QuantizedLinear
from winnow.models.quantized_model import set_fake_quant, set_smoothing
from winnow.tasks.task import Task

_FEWEST_EMPTY = 0.3  # fraction of blocks of four weights that are zero, from which the sparse engine is faster
_LARGEST_FACTOR = 100.0  # of a channel, relative to that of the channel with the largest values


def runs_in_sparse_engine(model: nn.Module) -> bool:
    """True if linear layers have so many empty blocks that the sparse engine pays; it cannot fuse smoothed inputs."""
    weights = [each.weight for each in model.modules() if isinstance(each, QuantizedLinear)]
    blocks = [weight.detach().view(-1, 4).any(dim=1) for weight in weights if weight.size(1) % 4 == 0]
    return bool(blocks) and float((~torch.cat(blocks)).float().mean()) >= _FEWEST_EMPTY


@torch.no_grad()
def smooth_inputs(model: nn.Module, task: Task, batches: Iterable[Batch]) -> None:
    """Bring the channels of the input of each linear layer to the same range, and scale the weights that read them.

    The outputs stay equal (SmoothQuant, Xiao et al. 2022, arXiv:2211.10438, eq. 3). The factor of a channel is the
    inverse of its largest value: strength 1 in eq. 4, because weights have a scale for each output. Values outside the
    range of the input quantiser count as its end, so that an outlier that is clipped anyway does not coarsen the
    weights.

    Args:
        model: whose input quantisers have a range; new ranges must be chosen afterwards.
    """
    largest: dict[QuantizedLinear, Tensor] = {}

    def see(linear: QuantizedLinear, x: Tensor) -> None:
        found = x.abs().amax(dim=0)
        largest[linear] = torch.maximum(largest[linear], found) if linear in largest else found

    _watch_inputs(model, task, batches, see)
    for linear, values in largest.items():
        quantizer = linear.input_quantizer
        values = values.clamp(max=torch.maximum(-quantizer.minimum, quantizer.maximum))
        if values.any():
            set_smoothing(linear, 1.0 / values.clamp(min=values.max() / _LARGEST_FACTOR))


@torch.no_grad()
def round_by_outputs(model: nn.Module, task: Task, batches: Iterable[Batch]) -> None:
    """Put the weights of all linear layers on their grids so that the outputs of each layer change least (GPTQ).

    Args:
        model: whose quantisers have their ranges; they are disabled afterwards.
    """
    set_fake_quant(model, observer_enabled=False, fake_quant_enabled=False)
    hessians: dict[QuantizedLinear, Tensor] = {}

    def see(linear: QuantizedLinear, x: Tensor) -> None:
        if linear not in hessians:
            size = linear.in_features + 1
            hessians[linear] = torch.zeros(size, size, dtype=torch.float64, device=x.device)
        add_inputs(hessians[linear], linear.input_quantizer.rounded(x))

    _watch_inputs(model, task, batches, see)
    for linear in list(hessians):
        quantizer = linear.weight_quantizer
        quantizer.observe(linear.weight)
        hessian = damped(hessians.pop(linear))
        bias = gptq(linear.weight, linear.bias, quantizer.scale, hessian, quantizer.low, quantizer.high)
        if bias is not None:
            linear.bias.copy_(bias)


def _watch_inputs(
    model: nn.Module, task: Task, batches: Iterable[Batch], see: Callable[[QuantizedLinear, Tensor], None]
) -> None:
    """Pass the input of each linear layer to ``see``, ``(tokens, in)`` without padding."""
    masks: list[Tensor] = []

    def hook(linear: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x,), mask = inputs, masks[-1]
        assert isinstance(linear, QuantizedLinear)
        smoothed = linear.smoothed(x)
        see(linear, smoothed[mask] if x.shape[:-1] == mask.shape else smoothed.flatten(0, -2))

    linears = [module for module in model.modules() if isinstance(module, QuantizedLinear)]
    hooks = [linear.register_forward_pre_hook(hook) for linear in linears]
    try:
        for batch in batches:
            masks.append(batch["attention_mask"].bool())
            task.outputs(model, batch)
    finally:
        for each in hooks:
            each.remove()
