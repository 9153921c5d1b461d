"""What the label of a text can be: one of several classes, any number of them, or a number."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from datasets import ClassLabel, Dataset, LargeList, List, Value
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
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelPrecision,
    MultilabelRecall,
)
from torchmetrics.regression import MeanSquaredError, PearsonCorrCoef, SpearmanCorrCoef

from winnow.errors import UserError, nearest
from winnow.functional.distillation_loss import distillation_loss, regression_distillation_loss
from winnow.tasks.task import DIGITS

# (index of a cell, its label as it should be shown, what is wrong with it) -> the error, which adds split and row.
Refusal = Callable[[int, str, str], UserError]


class LabelKind:
    """How the cells of a label column are read, and how a model is trained on them and scored.

    Args:
        column: the label column.
    """

    called: str  # in messages
    problem_type: str  # in the configuration of a model
    metrics: Mapping[str, Callable[[int], Metric]]  # name -> what makes one, given the number of outputs
    blank_is_missing = True  # False: a cell of blanks is a label too

    def __init__(self, column: str) -> None:
        self.column = column

    def check_type(self, feature: Any) -> None:
        """Refuse a label column that holds something else."""
        if _is_list(feature):
            raise UserError(
                f"task.data.label_column: '{self.column}' holds lists; "
                "set task.multi_label=true (and task.regression=false) to predict all labels of a row."
            )

    def names(self, train: Dataset) -> list[str]:
        """The labels in the order of their ids; none for a number."""
        raise NotImplementedError

    def targets(self, cells: Sequence[Any], feature: Any, names: Sequence[str], refusal: Refusal) -> list[Any]:
        """What the loss compares the outputs with, for some cells of the label column.

        Args:
            cells: as `datasets` decodes them.
            feature: of their column; its class names may come in another order than ``names``.
            names: of the labels, in the order of their ids.
            refusal: makes the error for a cell that is no label.
        """
        raise NotImplementedError

    def target_feature(self, names: Sequence[str]) -> Any:
        """The type of one target."""
        raise NotImplementedError

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over a batch; logits are float32, ``(batch, outputs)``."""
        raise NotImplementedError

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        raise NotImplementedError

    def predictions(self, logits: Tensor) -> Tensor:
        """What the metrics compare with the targets."""
        raise NotImplementedError

    def scores(self, logits: Tensor) -> Tensor:
        """What a user is told of the outputs, ``(batch, outputs)``: probabilities, or the number itself."""
        raise NotImplementedError

    def answer(self, scores: Sequence[float], names: Sequence[str], top_k: int | None) -> dict[str, Any]:
        """What is said of one text, given the scores of all labels; with ``top_k`` so many of them in a list too."""
        raise NotImplementedError


class SingleLabel(LabelKind):
    """One of several classes, which exclude one another."""

    called = "a classification"
    problem_type = "single_label_classification"
    # F1, precision and recall are those of the second of two classes, as in GLUE, and the macro average of more.
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
        labels = _in_order(values)
        if len(labels) < 2:
            raise UserError(
                f"task.data.label_column: '{self.column}' has one value only, '{labels[0]}': nothing to learn."
            )
        return labels

    def targets(self, cells: Sequence[Any], feature: Any, names: Sequence[str], refusal: Refusal) -> list[Any]:
        ids = {name: i for i, name in enumerate(names)}
        return [_id(_name(cell, feature), ids, i, refusal) for i, cell in enumerate(cells)]

    def target_feature(self, names: Sequence[str]) -> Any:
        return Value("int64")

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets)

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        return distillation_loss(student, teacher, temperature=temperature)

    def predictions(self, logits: Tensor) -> Tensor:
        return logits.argmax(dim=-1)

    def scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=-1)

    def answer(self, scores: Sequence[float], names: Sequence[str], top_k: int | None) -> dict[str, Any]:
        ranked = _ranked(scores, names)
        label, score = next(iter(ranked.items()))
        return {"label": label, "score": round(score, DIGITS), **_best_of(ranked, top_k)}


class MultiLabel(LabelKind):
    """Any number of classes, also none; each is a choice of its own between yes and no.

    Args:
        column: the label column, which holds lists, or strings.
        separator: stands between the labels of a string; None for lists.
    """

    called = "a multi-label classification"
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
        if self.separator is None and not _is_list(feature):
            raise UserError(
                f"task.data.label_column: '{self.column}' holds no lists; name what stands between the labels of a "
                "cell, \"task.data.label_separator=','\", or set task.multi_label=false."
            )
        if self.separator is not None and _is_list(feature):
            raise UserError(
                f"task.data.label_separator: '{self.column}' holds lists, which need none; "
                "set task.data.label_separator=null."
            )

    def names(self, train: Dataset) -> list[str]:
        feature = train.features[self.column]
        if _is_list(feature) and isinstance(feature.feature, ClassLabel):
            labels = list(feature.feature.names)
        else:
            labels = _in_order(self._distinct(train))
        if len(labels) < 2:
            raise UserError(
                f"task.data.label_column: '{self.column}' names {', '.join(labels) or 'no label'}, where two or more "
                "are needed; for a single one write yes or no in each row and set task.multi_label=false."
            )
        return labels

    def targets(self, cells: Sequence[Any], feature: Any, names: Sequence[str], refusal: Refusal) -> list[Any]:
        ids = {name: i for i, name in enumerate(names)}
        inner = feature.feature if _is_list(feature) else feature
        targets = []
        for i, cell in enumerate(cells):
            labels = [_name(label, inner) for label in self._labels_of(cell)]
            if names == ["0", "1"] and len(labels) > 2:
                raise refusal(i, str(cell), "which says 0 or 1 of each label; a list must name the labels that apply.")
            target = [0.0] * len(names)
            for label in labels:
                target[_id(label, ids, i, refusal)] = 1.0
            targets.append(target)
        return targets

    def target_feature(self, names: Sequence[str]) -> Any:
        return List(Value("float32"), length=len(names))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, targets.float())

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        """Each label as a distribution over yes and no: sigmoid(z) is the softmax of (z, 0)."""
        yes_no = [torch.stack([logits, torch.zeros_like(logits)], dim=-1) for logits in (student, teacher)]
        return distillation_loss(*yes_no, temperature=temperature)  # (batch, labels, 2)

    def predictions(self, logits: Tensor) -> Tensor:
        return (logits > 0).int()  # a probability above 0.5

    def scores(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def answer(self, scores: Sequence[float], names: Sequence[str], top_k: int | None) -> dict[str, Any]:
        ranked = _ranked(scores, names)
        labels = [{"label": name, "score": round(score, DIGITS)} for name, score in ranked.items() if score > 0.5]
        return {"labels": labels, **_best_of(ranked, top_k)}

    def _labels_of(self, cell: Any) -> list[Any]:
        if self.separator is None:
            return cell
        return [label for label in str(cell).split(self.separator) if label.strip()]

    def _distinct(self, train: Dataset) -> set[Any]:
        """Every label that some row names, as it is stored."""
        found: set[Any] = set()
        for table in train.select_columns([self.column]).with_format("arrow").iter(10_000):
            cells = table[self.column]
            if self.separator is not None:
                cells = pc.split_pattern(cells.cast("string"), self.separator)
            found.update(pc.list_flatten(cells).unique().to_pylist())
        return {label for label in found if label is not None and str(label).strip()}


class Number(LabelKind):
    """A number: a regression."""

    called = "a regression"
    problem_type = "regression"
    metrics: Mapping[str, Callable[[int], Metric]] = {
        "pearson": lambda n: PearsonCorrCoef(),
        "spearmanr": lambda n: SpearmanCorrCoef(),
        "mean_squared_error": lambda n: MeanSquaredError(),
    }

    def names(self, train: Dataset) -> list[str]:
        return []

    def targets(self, cells: Sequence[Any], feature: Any, names: Sequence[str], refusal: Refusal) -> list[Any]:
        targets = []
        for i, cell in enumerate(cells):
            try:
                targets.append(float(cell))
            except ValueError:
                why = "which is no number; a regression needs numbers (task.regression=false for classes)."
                raise refusal(i, repr(cell), why) from None
        return targets

    def target_feature(self, names: Sequence[str]) -> Any:
        return Value("float32")

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(logits.squeeze(-1), targets.float())

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        return regression_distillation_loss(student, teacher)

    def predictions(self, logits: Tensor) -> Tensor:
        return logits.squeeze(-1)

    def scores(self, logits: Tensor) -> Tensor:
        return logits

    def answer(self, scores: Sequence[float], names: Sequence[str], top_k: int | None) -> dict[str, Any]:
        (number,) = scores
        return {"value": round(float(number), DIGITS)}


def _ranked(scores: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """Label -> score, the largest first, and of equal ones the first label."""
    return dict(sorted(zip(names, map(float, scores), strict=True), key=lambda pair: -pair[1]))


def _best_of(ranked: Mapping[str, float], top_k: int | None) -> dict[str, dict[str, float]]:
    best = itertools.islice(ranked.items(), top_k)
    return {"scores": {name: round(score, DIGITS) for name, score in best}} if top_k else {}


def _is_list(feature: Any) -> bool:
    return isinstance(feature, (List, LargeList))


def _is_decimal(value: Any) -> bool:
    return isinstance(value, float) and not value.is_integer()


def _in_order(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(_name(value, None) for value in sorted(values)))


def _name(value: Any, feature: Any) -> str:
    """A label as people write it."""
    if value is None:
        return ""
    if isinstance(feature, ClassLabel):
        return feature.names[value] if value in range(len(feature.names)) else str(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _id(name: str, ids: Mapping[str, int], cell: int, refusal: Refusal) -> int:
    if name not in ids:
        raise refusal(
            cell, f"'{name}'", f"which the training split has not.{nearest(name, ids)}" if name else "which is empty."
        )
    return ids[name]
