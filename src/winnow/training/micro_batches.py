"""A training batch computed in parts, where the whole does not fit into memory; its gradient stays the same."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pytorch_lightning.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor, nn

from winnow.errors import UserError
from winnow.training.random_state import random_state, set_random_state

Loss = Callable[[Mapping[str, Tensor]], Tensor]  # mean over the examples of a batch


class MicroBatches:
    """Compute the gradient of a batch as the sum of those of its parts, each weighted by its number of examples.

    For all others it is one forward and one backward pass: unlike smaller batches with more accumulation it leaves the
    batches, the clock of the recipe, the logs and a resumed run as they are. Only dropout draws other numbers, and a
    loss that is a mean over tokens is one over those of a part. (Lightning's ``Tuner.scale_batch_size`` changes the
    batch, and tries sizes without callbacks, thus without the teacher and fake quantisation, which take memory.)

    Args:
        size: most examples in a part; ``auto``: the whole batch, and half as many from then on whenever the memory runs
            out. The batch is then computed again, from the same random numbers.
    """

    def __init__(self, size: int | Literal["auto"]) -> None:
        self.is_auto = size == "auto"
        self.size: int | None = None if size == "auto" else size  # None: the whole batch

    def loss(self, module: nn.Module, batch: Mapping[str, Tensor], loss_of: Loss, scale: float = 1.0) -> Tensor:
        """The mean loss of a batch. Its gradient is computed here; a backward pass hands it to the parameters.

        Args:
            module: with the parameters.
            batch: tensors with the examples in their first dimension.
            loss_of: computes the loss of a part.
            scale: factor on the loss while its gradient is computed, so that float16 holds small values.

        Raises:
            UserError: if the memory is too small for one example.
        """
        state = random_state() if self.is_auto else {}
        buffers = [buffer.clone() for buffer in module.buffers()] if self.is_auto else []
        while True:
            size = min(self.size or len(batch["input_ids"]), len(batch["input_ids"]))
            try:
                return _loss(module, batch, loss_of, size, scale)
            except RuntimeError as error:
                if not (self.is_auto and is_oom_error(error)):
                    raise
            garbage_collection_cuda()  # here, where no error keeps the tensors of the failed pass
            if size == 1:
                raise UserError(
                    "trainer.micro_batch_size=auto: the memory is too small for a single example of "
                    f"{batch['input_ids'].shape[-1]} tokens; add trainer.gradient_checkpointing=true, or shorten the "
                    "texts."
                )
            self.size = -(-size // 2)
            print(f"note: out of memory with {size} examples at once; from now on it is {self.size}.", flush=True)
            set_random_state(state)
            for buffer, before in zip(module.buffers(), buffers, strict=True):
                buffer.copy_(before)  # observers have seen the failed pass


def _loss(module: nn.Module, batch: Mapping[str, Tensor], loss_of: Loss, size: int, scale: float) -> Tensor:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    sums: list[Tensor | None] = [None] * len(parameters)
    losses = []
    columns = {name: torch.split(values, size) for name, values in batch.items()}
    for values in zip(*columns.values(), strict=True):
        part = dict(zip(columns, values, strict=True))
        loss = loss_of(part) * (len(part["input_ids"]) / len(batch["input_ids"]))
        with torch.autocast(loss.device.type, enabled=False):  # as in the backward pass of a whole batch
            gradients = torch.autograd.grad(loss * scale, parameters, allow_unused=True)
        torch.clear_autocast_cache()  # weights in half precision belong to the graph of this part
        sums = [_sum(before, gradient) for before, gradient in zip(sums, gradients, strict=True)]
        losses.append(loss.detach())
    known: Any = _KnownGradient.apply  # without types
    total: Tensor = known(torch.stack(losses).sum(), sums, scale, *parameters)
    return total


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one.add_(other)


class _KnownGradient(torch.autograd.Function):
    """A loss whose gradient has been computed."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor | None], scale: float, *parameters: Tensor) -> Tensor:
        ctx.gradients, ctx.scale = gradients, scale
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        factor = outer[0] / ctx.scale  # the scale of the loss, divided by accumulation
        return None, None, None, *(None if gradient is None else gradient.mul_(factor) for gradient in ctx.gradients)
