"""The interface of a label kind, and what several kinds share: names, ids and ranking of labels."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from datasets import ClassLabel, Dataset, LargeList, List
from torch import Tensor
from torchmetrics import Metric

from winnow.errors import UserError, nearest
from winnow.tasks.task import SCORE_DIGITS


class LabelError(ValueError):
    """A cell that holds no valid label.

    Args:
        cell: index of the cell.
        message: the problem and the remedy.
    """

    def __init__(self, cell: int, message: str) -> None:
        super().__init__(message)
        self.cell = cell


class LabelKind:
    """Base class: a subclass reads the cells of a label column, trains a model on them and scores it.

    Args:
        column: name of the label column.
    """

    description: str  # in messages
    problem_type: str  # in the model's configuration
    metrics: Mapping[str, Callable[[int], Metric]]  # name -> makes the metric for a number of outputs
    blank_is_missing = True  # False: a blank cell is a valid label

    def __init__(self, column: str) -> None:
        self.column = column

    def check_type(self, feature: Any) -> None:
        """Raise an error for a label column of another kind."""
        if is_list(feature):
            raise UserError(
                f"task.data.label_column: '{self.column}' holds lists; "
                "set task.multi_label=true (and task.regression=false) to predict all labels of a row."
            )

    def names(self, train: Dataset) -> list[str]:
        """The label names in the order of their ids; empty for numbers."""
        raise NotImplementedError

    def targets(self, cells: Sequence[Any], feature: Any, names: Sequence[str]) -> list[Any]:
        """The targets of the loss for some cells of the label column.

        Args:
            cells: cells as `datasets` decodes them.
            feature: type of the column; its class names may have another order than ``names``.
            names: label names in the order of their ids.

        Raises:
            LabelError: for a cell that holds no valid label.
        """
        raise NotImplementedError

    def target_feature(self, names: Sequence[str]) -> Any:
        """The type of one target in a data set."""
        raise NotImplementedError

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over a batch; logits are float32, ``(batch, outputs)``."""
        raise NotImplementedError

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        raise NotImplementedError

    def predicted_targets(self, logits: Tensor) -> Tensor:
        """The predictions in the form of the targets, for the metrics."""
        raise NotImplementedError

    def scores(self, logits: Tensor) -> Tensor:
        """Probabilities, or the predicted number, ``(batch, outputs)``."""
        raise NotImplementedError

    def prediction(self, scores: Sequence[float], names: Sequence[str], top_k: int | None) -> dict[str, Any]:
        """The prediction for one text from the scores of all labels; ``top_k`` also lists that many of the best."""
        raise NotImplementedError


def ranked(scores: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """Label -> score, the largest score first; equal scores keep the order of the labels."""
    return dict(sorted(zip(names, map(float, scores), strict=True), key=lambda pair: -pair[1]))


def top_scores(ranking: Mapping[str, float], top_k: int | None) -> dict[str, dict[str, float]]:
    """The entry of a prediction that lists the ``top_k`` best labels; empty for None."""
    best = itertools.islice(ranking.items(), top_k)
    return {"scores": {name: round(score, SCORE_DIGITS) for name, score in best}} if top_k else {}


def is_list(feature: Any) -> bool:
    return isinstance(feature, (List, LargeList))


def sorted_names(values: Iterable[Any]) -> list[str]:
    """The different names of some label values: numbers by value, texts in alphabetical order."""
    return list(dict.fromkeys(label_name(value, None) for value in sorted(values)))


def label_name(value: Any, feature: Any) -> str:
    """The name of a label value; '' for a missing value."""
    if value is None:
        return ""
    if isinstance(feature, ClassLabel):
        return str(feature.names[value]) if value in range(len(feature.names)) else str(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def label_id(name: str, ids: Mapping[str, int], cell: int) -> int:
    """The id of a label name.

    Raises:
        LabelError: if the name is empty or unknown.
    """
    if not name:
        raise LabelError(cell, "the label '' is empty; fill it or leave the row out.")
    if name not in ids:
        raise LabelError(
            cell,
            f"label '{name}' does not occur in the training split; correct it or add training rows with it."
            f"{nearest(name, ids)}",
        )
    return ids[name]
