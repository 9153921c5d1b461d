"""Find NaN and infinity in the weights and the outputs of a model."""

import torch
from torch import Tensor, nn

from winnow.data.batch import ModelOutputs
from winnow.errors import UserError


def check_weights(model: nn.Module, what: str, remedy: str) -> None:
    """Refuse a model with a weight that is not finite.

    Args:
        what: the model in words.
        remedy: the end of the message.

    Raises:
        UserError: with the full name of the first such parameter.
    """
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise UserError(f"{what}: the weights are NaN or infinite in {name}; {remedy}.")


def are_finite(outputs: ModelOutputs) -> Tensor:
    """A bool scalar: True if all floating-point outputs of a batch are finite."""
    tensors = [value for value in vars(outputs).values() if isinstance(value, Tensor) and value.is_floating_point()]
    checks = [tensor.isfinite().all() for tensor in tensors]
    return torch.stack(checks).all() if checks else torch.tensor(True)
