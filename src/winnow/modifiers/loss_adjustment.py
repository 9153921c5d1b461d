"""Modifiers adjust the loss of a training step that knows nothing of them."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from winnow.errors import UserError

Adjust = Callable[[Tensor, Any, Mapping[str, Tensor]], Tensor]  # loss, outputs and inputs of the model -> loss


class ForwardPass:
    """The outputs and the inputs, by name, of the last forward pass of a model in training mode.

    Args:
        model: is watched until `remove`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._forward = inspect.signature(model.forward)
        self._last: tuple[Any, Mapping[str, Any]] | None = None
        self._hook = model.register_forward_hook(self._keep, with_kwargs=True)

    def _keep(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        if model.training:
            self._last = outputs, self.named_inputs(args, kwargs)

    def named_inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        inputs = dict(self._forward.bind(*args, **kwargs).arguments)
        for name, parameter in self._forward.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                inputs |= inputs.pop(name, {})
        return {name: value for name, value in inputs.items() if value is not None}

    def take(self) -> tuple[Any, Mapping[str, Any]] | None:
        """Outputs and inputs, once; None if there was no forward pass since the last call."""
        last, self._last = self._last, None
        return last

    def remove(self) -> None:
        self._hook.remove()


def adjust_training_step(module: Any, model: nn.Module, adjustments: Callable[[], Iterable[Adjust]]) -> None:
    """Let the result of a LightningModule's ``training_step`` be adjusted, until `restore_training_step`.

    Args:
        module: the LightningModule.
        model: the part of it whose outputs are looked at.
        adjustments: gives what to apply, in order.

    Raises:
        UserError: for manual optimization.
    """
    if not module.automatic_optimization:
        raise UserError("a teacher changes the loss that training_step returns; use automatic optimization.")
    step, forward = module.training_step, ForwardPass(model)

    @functools.wraps(step)
    def training_step(*args: Any, **kwargs: Any) -> Any:
        forward.take()
        result = step(*args, **kwargs)
        loss = result.get("loss") if isinstance(result, Mapping) else result
        if loss is None:  # the step is left out
            return result
        seen = forward.take()
        if seen is None:
            raise UserError(
                f"training_step did not call {type(model).__name__}, whose outputs are compared with the teacher's; "
                "keep the model that it calls as self.model."
            )
        for adjust in adjustments():
            loss = adjust(loss, *seen)
        return {**result, "loss": loss} if isinstance(result, Mapping) else loss

    module.training_step = training_step
    module.adjusted_forward = forward


def is_adjusted(module: Any) -> bool:
    return "adjusted_forward" in vars(module)


def restore_training_step(module: Any) -> None:
    """Give a LightningModule its own ``training_step`` back, if it was adjusted."""
    if is_adjusted(module):
        module.adjusted_forward.remove()
        del module.adjusted_forward, module.training_step
