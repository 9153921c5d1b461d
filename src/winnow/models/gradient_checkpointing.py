"""Gradient checkpointing: the backward pass computes each layer again, so its activations need not be kept."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from transformers import PreTrainedModel

from winnow.errors import UserError

_running: list[bool] = []  # of layers that are computed again; a plain list, since GPUs run the backward in a thread


def enable_gradient_checkpointing(model: PreTrainedModel) -> None:
    """Keep only the inputs of each layer for the backward pass (Chen et al. 2016, arXiv:1604.06174).

    Random numbers and precision of the second pass are those of the first, so the gradients are the same to the bit.

    Raises:
        UserError: for a kind of model whose layers cannot be computed again in transformers.
    """
    if not model.supports_gradient_checkpointing:
        raise UserError(
            "trainer.gradient_checkpointing=true: transformers has no gradient checkpointing for "
            f"{model.config.model_type} models; leave it out, or use trainer.micro_batch_size=auto."
        )
    # transformers renames it
    enable: Any = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False, "context_fn": lambda: (nullcontext(), _second_pass())})


def is_second_pass() -> bool:
    """True while the backward pass computes a layer again: what observes a training must not count it twice."""
    return bool(_running)


@contextmanager
def _second_pass() -> Iterator[None]:
    _running.append(True)
    try:
        yield
    finally:
        _running.pop()
