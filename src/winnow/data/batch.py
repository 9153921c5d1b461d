"""The types that pass between data, tasks and models."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

Batch = Mapping[str, Tensor]
Columns = Mapping[str, Sequence[Any]]  # column -> one value for each row
Collator = Callable[[Columns], dict[str, Tensor]]  # rows -> batch


class ModelOutputs(Protocol):
    """The outputs of a model for one batch, as attributes: ``logits``, or ``start_logits`` and ``end_logits``.

    Models of transformers, stored teacher outputs and exported graphs all return such an object.
    """

    def __getattribute__(self, name: str, /) -> Tensor: ...
