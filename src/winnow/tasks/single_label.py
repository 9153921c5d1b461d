"""One of several classes for each text."""

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

from winnow.errors import UserError
from winnow.functional.distillation_loss import distillation_loss
from winnow.tasks.label_kind import LabelKind, label_id, label_name, ranked, sorted_names, top_scores
from winnow.tasks.task import SCORE_DIGITS


class SingleLabel(LabelKind):
    """One of several classes that exclude one another."""

    description = "a classification"
    problem_type = "single_label_classification"
    # F1, precision and recall: of the second class if there are two, as in GLUE; the macro average if there are more.
    metrics: Mapping[str, Callable[[int], Metric]] = {
        "accuracy": lambda n: Accuracy(task="multiclass", num_classes=n),
        "f1": lambda n: BinaryF1Score() if n == 2 else MulticlassF1Score(n),
        "precision": lambda n: BinaryPrecision() if n == 2 else MulticlassPrecision(n),
        "recall": lambda n: BinaryRecall() if n == 2 else MulticlassRecall(n),
        "matthews_correlation": lambda n: MatthewsCorrCoef(task="multiclass", num_classes=n),
    }

    def names(self, train: Dataset) -> list[str]:
        feature = train.features[self.column]
        if isinstance(feature, ClassLabel):
            return list(feature.names)
        values = train.unique(self.column)
        if any(map(_is_decimal, values)):
            raise UserError(
                f"task.data.label_column: '{self.column}' holds decimal numbers; "
                "set task.regression=true 'task.metrics=[pearson,spearmanr]' to predict them."
            )
        labels = sorted_names(values)
        if len(labels) < 2:
            raise UserError(
                f"task.data.label_column: '{self.column}' has the single value '{labels[0]}', but a classification "
                "needs two classes or more; name another column or other files."
            )
        return labels

    def targets(self, cells: Sequence[Any], feature: Any, names: Sequence[str]) -> list[Any]:
        ids = {name: i for i, name in enumerate(names)}
        return [label_id(label_name(value, feature), ids, cell) for cell, value in enumerate(cells)]

    def target_feature(self, names: Sequence[str]) -> Any:
        return Value("int64")

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets)

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        return distillation_loss(student, teacher, temperature=temperature)

    def predicted_targets(self, logits: Tensor) -> Tensor:
        return logits.argmax(dim=-1)

    def scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=-1)

    def prediction(self, scores: Sequence[float], names: Sequence[str], top_k: int | None) -> dict[str, Any]:
        ranking = ranked(scores, names)
        label, score = next(iter(ranking.items()))
        return {"label": label, "score": round(score, SCORE_DIGITS), **top_scores(ranking, top_k)}


def _is_decimal(value: Any) -> bool:
    return isinstance(value, float) and not value.is_integer()
