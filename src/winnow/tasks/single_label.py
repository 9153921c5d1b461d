"""One of several classes for each text."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from datasets import ClassLabel, Dataset, Value
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    Accuracy,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
    MatthewsCorrCoef,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from winnow.errors import UserError, visible
from winnow.functional.distillation_loss import distillation_loss
from winnow.tasks.alike_labels import note_alike
from winnow.tasks.label_kind import (
    LabelKind,
    check_known,
    distinct,
    is_float,
    is_number,
    label_id,
    label_ids,
    label_name,
    sorted_names,
)

_DECIMAL = re.compile(r"-?\d+\.\d*[1-9]\d*", re.ASCII)
_DECIMAL_CLASSES = 100  # more different decimal numbers are no classes


class SingleLabel(LabelKind):
    """One of several classes that exclude one another."""

    description = "a classification"
    problem_type = "single_label_classification"
    exclusive = True
    # f1, precision, recall: of the second class if there are two, as in GLUE; the macro average if there are more
    metrics: Mapping[str, Callable[[int], Metric]] = {
        "accuracy": lambda n: Accuracy(task="multiclass", num_classes=n),
        "f1": lambda n: BinaryF1Score() if n == 2 else MulticlassF1Score(n),
        "precision": lambda n: BinaryPrecision() if n == 2 else MulticlassPrecision(n),
        "recall": lambda n: BinaryRecall() if n == 2 else MulticlassRecall(n),
        "f1_macro": lambda n: MulticlassF1Score(n),
        "f1_weighted": lambda n: MulticlassF1Score(n, average="weighted"),
        "precision_macro": lambda n: MulticlassPrecision(n),
        "recall_macro": lambda n: MulticlassRecall(n),
        "matthews_correlation": lambda n: MatthewsCorrCoef(task="multiclass", num_classes=n),
    }

    def names(self, train: Dataset) -> list[str]:
        feature = train.features[self.column]
        if isinstance(feature, ClassLabel):
            return list(feature.names)
        counts = distinct(train, self.column)
        labels = sorted_names(counts)
        self._check_decimals(labels, counts)
        note_alike(labels, self.column)
        if len(labels) < 2:
            raise UserError(
                f"task.data.label_column: '{self.column}' has the single value '{''.join(labels)}', but a "
                "classification needs two classes or more; name another column or other files."
            )
        return labels

    def _check_decimals(self, labels: Sequence[str], counts: Mapping[Any, int]) -> None:
        """Numbers such as 2.75 are hardly the names of classes, unless there are few of them."""
        decimals = [label for label in labels if _DECIMAL.fullmatch(label)]
        if not decimals or not all(map(is_number, labels)):
            return
        remedy = "set task.regression=true 'task.metrics=[pearson,spearmanr]' to predict them"
        if len(labels) > _DECIMAL_CLASSES or 2 * len(labels) > sum(counts.values()) or is_float(counts):
            raise UserError(f"task.data.label_column: '{self.column}' holds decimal numbers; {remedy}.")
        print(
            f"note: the {len(labels)} classes in '{visible(self.column)}' are decimal numbers such as {decimals[0]}; "
            f"{remedy} as numbers.",
            file=sys.stderr,
        )

    def check_split(self, split: Dataset, name: str, names: Sequence[str]) -> None:
        check_known(split, self.column, name, names)

    def targets(self, cells: Sequence[Any], feature: Any, names: Sequence[str]) -> list[Any]:
        ids = label_ids(names)
        return [label_id(label_name(value, feature), ids, cell) for cell, value in enumerate(cells)]

    def target_feature(self, names: Sequence[str]) -> Any:
        return Value("int64")

    def balanced_weights(self, targets: Tensor, count: int) -> Tensor:
        """Rows / (classes * rows of the class), as scikit-learn computes them (King and Zeng 2001)."""
        return len(targets) / (count * targets.bincount(minlength=count).clamp(min=1))

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        return distillation_loss(student, teacher, temperature=temperature)

    def truth(self, target: Any, names: Sequence[str]) -> dict[str, Any]:
        return {"true_label": names[target]}
