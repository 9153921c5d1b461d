"""The types that pass between data, tasks and models."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor  # heavy, and not installed where a deployment serves

Batch = Mapping[str, "Tensor"]
Arrays = Mapping[str, NDArray[Any]]
Columns = Mapping[str, Sequence[Any]]  # column -> one value for each row
Collator = Callable[[Columns], dict[str, "Tensor"]]  # rows -> batch


class ModelOutputs(Protocol):
    """The outputs of a model for one batch, as attributes: ``logits``, or ``start_logits`` and ``end_logits``.

    Models of transformers, stored teacher outputs and exported graphs all return such an object.
    """

    def __getattribute__(self, name: str, /) -> "Tensor": ...
