"""Any number of classes for each text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from datasets import ClassLabel, Dataset, List, Value
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelPrecision,
    MultilabelRecall,
)

from winnow.errors import UserError
from winnow.functional.distillation_loss import distillation_loss
from winnow.tasks.label_kind import (
    LabelError,
    LabelKind,
    is_list,
    label_id,
    label_name,
    ranked,
    sorted_names,
    top_scores,
)
from winnow.tasks.task import SCORE_DIGITS


class MultiLabel(LabelKind):
    """Any number of classes, also none; each class is a separate yes or no.

    Args:
        column: name of the label column, which holds lists or strings.
        separator: separates the labels in a string; None for lists.
    """

    description = "a multi-label classification"
    problem_type = "multi_label_classification"
    metrics: Mapping[str, Callable[[int], Metric]] = {
        "f1": lambda n: MultilabelF1Score(n, average="micro"),
        "f1_macro": lambda n: MultilabelF1Score(n, average="macro"),
        "precision": lambda n: MultilabelPrecision(n, average="micro"),
        "recall": lambda n: MultilabelRecall(n, average="micro"),
        "accuracy": lambda n: MultilabelExactMatch(n),  # all labels of a row are right
    }
    blank_is_missing = False

    def __init__(self, column: str, separator: str | None) -> None:
        super().__init__(column)
        self.separator = separator

    def check_type(self, feature: Any) -> None:
        if self.separator is None and not is_list(feature):
            raise UserError(
                f"task.data.label_column: '{self.column}' holds no lists; name the separator of the labels in a cell, "
                "\"task.data.label_separator=','\", or set task.multi_label=false."
            )
        if self.separator is not None and is_list(feature):
            raise UserError(
                f"task.data.label_separator: '{self.column}' holds lists, which need no separator; "
                "set task.data.label_separator=null."
            )

    def names(self, train: Dataset) -> list[str]:
        feature = train.features[self.column]
        if is_list(feature) and isinstance(feature.feature, ClassLabel):
            labels = list(feature.feature.names)
        else:
            labels = sorted_names(self._distinct(train))
        if len(labels) < 2:
            found = f"the single label '{labels[0]}'" if labels else "no label"
            raise UserError(
                f"task.data.label_column: '{self.column}' has {found}, but task.multi_label=true needs two or more; "
                "for one label write yes or no in each row and set task.multi_label=false."
            )
        return labels

    def targets(self, cells: Sequence[Any], feature: Any, names: Sequence[str]) -> list[Any]:
        ids = {name: i for i, name in enumerate(names)}
        inner = feature.feature if is_list(feature) else feature
        targets = []
        for cell, value in enumerate(cells):
            labels = [label_name(label, inner) for label in self._labels_of(value)]
            if names == ["0", "1"] and len(labels) > 2:
                raise LabelError(
                    cell, f"the label {value} has a 0 or 1 for each class; list the names of the labels that apply."
                )
            target = [0.0] * len(names)
            for label in labels:
                target[label_id(label, ids, cell)] = 1.0
            targets.append(target)
        return targets

    def target_feature(self, names: Sequence[str]) -> Any:
        return List(Value("float32"), length=len(names))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, targets.float())

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        """Each label is a distribution over yes and no: sigmoid(z) is the softmax of (z, 0)."""
        yes_no = [torch.stack([logits, torch.zeros_like(logits)], dim=-1) for logits in (student, teacher)]
        return distillation_loss(*yes_no, temperature=temperature)  # (batch, labels, 2)

    def predicted_targets(self, logits: Tensor) -> Tensor:
        return (logits > 0).int()  # a probability above 0.5

    def scores(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def prediction(self, scores: Sequence[float], names: Sequence[str], top_k: int | None) -> dict[str, Any]:
        ranking = ranked(scores, names)
        labels = [
            {"label": name, "score": round(score, SCORE_DIGITS)} for name, score in ranking.items() if score > 0.5
        ]
        return {"labels": labels, **top_scores(ranking, top_k)}

    def _labels_of(self, cell: Any) -> Sequence[Any]:
        if self.separator is None:
            return list(cell)
        return [label for label in str(cell).split(self.separator) if label.strip()]

    def _distinct(self, train: Dataset) -> set[Any]:
        """All label values that occur in the split, without blank ones."""
        found: set[Any] = set()
        for table in train.select_columns([self.column]).with_format("arrow").iter(10_000):
            cells = table[self.column]
            if self.separator is not None:
                cells = pc.split_pattern(cells.cast("string"), self.separator)
            found.update(pc.list_flatten(cells).unique().to_pylist())
        return {label for label in found if label is not None and str(label).strip()}
