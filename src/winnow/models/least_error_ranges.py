"""Choose the ranges of activations by the error that their quantisation causes in the outputs of the model."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from winnow.data.batch import Batch
from winnow.functional.quantization_range import histogram, least_error_range
from winnow.models.fake_quant import ActivationFakeQuant
from winnow.models.quantized_model import quantizers
from winnow.tasks.task import Task

Activation = tuple[list[ActivationFakeQuant], Tensor, Tensor]  # the quantisers that read it, its values, their gradient


def set_least_error_ranges(model: nn.Module, task: Task, batches: Iterable[Batch]) -> None:
    """Set the grid of each activation to the range with which the outputs of the model change least.

    To first order, an error e of an activation changes the outputs by the gradient times e. So the range has the least
    sum of squared errors, each weighted by the squared gradient: large values to which the outputs are insensitive are
    clipped, and the others get a finer grid. This is the diagonal of the Fisher information, as BRECQ (Li et al. 2021,
    arXiv:2102.05426, eq. 10) weights errors. One backward pass a batch is enough: the square of the gradient of
    the outputs' sum with random signs has the expectation of the sum of their squared gradients (Hutchinson 1989).

    Quantisers of the same tensors, such as the inputs of query, key and value, get the same grid. The quantiser of a
    shared layer gets a grid for all tensors that it reads. A quantiser whose input has no influence on the outputs
    keeps its grid.

    Args:
        model: in evaluation mode, with observers enabled and fake quantisation disabled; weights are not changed.
        task: computes the outputs.
        batches: of texts.
    """
    counts: dict[ActivationFakeQuant, Tensor] = {}
    signs = torch.Generator().manual_seed(0)
    for batch in batches:
        for readers, values, gradient in _gradients(model, task, batch, signs):
            found = histogram(values, gradient.square())
            counts |= {each: counts[each] + found if each in counts else found for each in readers}
    for quantizer, count in counts.items():
        bounds = least_error_range(count, quantizer.high - quantizer.low)
        if bounds is not None:
            quantizer.set_range(*(torch.tensor([bound], device=count.device) for bound in bounds))


@torch.enable_grad()
def _gradients(model: nn.Module, task: Task, batch: Batch, signs: torch.Generator) -> Iterator[Activation]:
    """Each quantised activation with the gradient of the outputs, with random signs, by it."""
    readers: dict[int, tuple[Tensor, list[ActivationFakeQuant], list[Tensor]]] = {}

    def read(quantizer: ActivationFakeQuant, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # a view for each reader: the gradient by the tensor itself would include the residual connection
        view = output.view_as(output) if output.requires_grad else output.detach().requires_grad_()
        _, group, views = readers.setdefault(id(output), (output, [], []))  # kept, so that its id stays its own
        group.append(quantizer)
        views.append(view)
        return view

    watched = [each for each in quantizers(model).values() if isinstance(each, ActivationFakeQuant)]
    hooks = [quantizer.register_forward_hook(read) for quantizer in watched]
    try:
        outputs = task.outputs(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    views = [view for _, _, views in readers.values() for view in views]
    found = iter(torch.autograd.grad(_signed_sum(task, outputs, batch, signs), views, allow_unused=True))
    for values, group, copies in readers.values():
        parts = [part for part in (next(found) for _ in copies) if part is not None]
        yield group, values.detach(), sum(parts, torch.zeros_like(values))


def _signed_sum(task: Task, outputs: Any, batch: Batch, generator: torch.Generator) -> Tensor:
    """The sum of all outputs, each with a random sign, without those of padding."""
    total = torch.zeros(())
    for name in task.output_names or ("logits",):
        values: Tensor = getattr(outputs, name)
        signs = 2 * torch.randint(0, 2, values.shape, generator=generator).to(values.device) - 1
        if task.outputs_per_token:
            mask = batch["attention_mask"]
            signs = signs * mask.view(*mask.shape, *[1] * (values.dim() - 2))
        total = total + (values * signs).sum()
    return total
