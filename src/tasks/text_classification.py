"""Classify or score a text or a pair of texts: GLUE, reviews, a user's own tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from datasets import ClassLabel, Dataset, DatasetDict, Value
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
from torchmetrics.regression import MeanSquaredError, PearsonCorrCoef, SpearmanCorrCoef
from transformers import AutoModelForSequenceClassification

from src.errors import UserError, nearest
from src.functional.distillation import distillation_loss, regression_distillation_loss
from src.tasks.base import Task, check_metric_names

REGRESSION_METRICS: dict[str, Callable[[], Metric]] = {
    "pearson": PearsonCorrCoef,
    "spearmanr": SpearmanCorrCoef,
    "mean_squared_error": MeanSquaredError,
}
# With two classes F1, precision and recall are those of the second class, as in GLUE; with more their macro average.
CLASSIFICATION_METRICS: dict[str, Callable[[int], Metric]] = {
    "accuracy": lambda n: Accuracy(task="multiclass", num_classes=n),
    "f1": lambda n: BinaryF1Score() if n == 2 else MulticlassF1Score(n),
    "precision": lambda n: BinaryPrecision() if n == 2 else MulticlassPrecision(n),
    "recall": lambda n: BinaryRecall() if n == 2 else MulticlassRecall(n),
    "matthews_correlation": lambda n: MatthewsCorrCoef(task="multiclass", num_classes=n),
}


class TextClassification(Task):
    """One label, or one number, for each text or text pair.

    Args:
        name: of the task, for folders and tables.
        metrics: names of the metrics; the first chooses the best model.
        regression: labels are numbers.
        max_length: tokens a text is cut to.
        data: the ``task.data`` section; text and label columns are read here.
    """

    auto_model = AutoModelForSequenceClassification

    def __init__(
        self, *, name: str, metrics: Sequence[str], regression: bool, max_length: int, data: Mapping[str, Any]
    ) -> None:
        super().__init__(name=name, metrics=metrics, data=data)
        known: Mapping[str, Any] = REGRESSION_METRICS if regression else CLASSIFICATION_METRICS
        check_metric_names(metrics, known, "a regression" if regression else "a classification")
        self.regression = regression
        self.max_length = max_length
        if len(self.text_columns) not in (1, 2):
            raise UserError(f"task.data.text_columns must be one column or two, got {self.text_columns}.")
        self.drop_empty: bool = data["drop_empty"]

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        if "test" in splits and self._is_unlabelled(splits["test"]):
            splits = DatasetDict({name: split for name, split in splits.items() if name != "test"})
        prepared = DatasetDict({name: self._checked(split, name) for name, split in splits.items()})
        self.labels = [] if self.regression else self._label_names(prepared["train"])
        return DatasetDict({name: self._with_label_ids(split, name) for name, split in prepared.items()})

    def head_settings(self) -> dict[str, Any]:
        if self.regression:
            return {"num_labels": 1, "problem_type": "regression"}
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: i for i, label in enumerate(self.labels)},
            "problem_type": "single_label_classification",
        }

    def encode(self, split: Dataset, tokenizer: Any, *, training: bool) -> Dataset:
        def features(rows: Mapping[str, list]) -> dict[str, Any]:
            texts = [rows[column] for column in self.text_columns]
            encoded = tokenizer(*texts, truncation=True, max_length=min(self.max_length, tokenizer.model_max_length))
            return {**encoded, "labels": rows["labels"], "length": [len(ids) for ids in encoded["input_ids"]]}

        return split.map(features, batched=True, remove_columns=split.column_names)

    def loss(self, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        logits = outputs.logits.float()  # (batch, labels), or (batch, 1) for a regression
        if self.regression:
            return F.mse_loss(logits.squeeze(-1), batch["labels"].float())
        return F.cross_entropy(logits, batch["labels"])

    def distillation_loss(
        self, student: Any, teacher: Any, batch: Mapping[str, Tensor], *, temperature: float
    ) -> Tensor:
        if self.regression:
            return regression_distillation_loss(student.logits, teacher.logits)
        return distillation_loss(student.logits, teacher.logits, temperature=temperature)

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        if self.regression:
            return {name: REGRESSION_METRICS[name]() for name in self.metric_names}
        return {name: CLASSIFICATION_METRICS[name](len(self.labels)) for name in self.metric_names}

    def update_metrics(self, metrics: Any, outputs: Any, batch: Mapping[str, Tensor]) -> None:
        logits = outputs.logits.float()
        predictions = logits.squeeze(-1) if self.regression else logits.argmax(dim=-1)
        metrics.update(predictions, batch["labels"])

    def _is_unlabelled(self, split: Dataset) -> bool:
        """True for the test splits of benchmarks, whose labels are all -1, and for tables without a label column."""
        if self.label_column not in split.column_names:
            return True
        return set(split.unique(self.label_column)) == {-1}

    def _checked(self, split: Dataset, name: str) -> Dataset:
        columns = [*self.text_columns, self.label_column]
        empty = [i for i, row in enumerate(zip(*(split[c] for c in columns), strict=True)) if any(map(_is_empty, row))]
        if empty and not self.drop_empty:
            blank = next(c for c in columns if _is_empty(split[empty[0]][c]))
            raise UserError(
                f"the {name} split has {len(empty):,} of {len(split):,} rows with an empty cell, row {empty[0] + 1} "
                f"in column '{blank}' the first; fill them, or leave them out with task.data.drop_empty=true."
            )
        if empty:
            split = split.select(sorted(set(range(len(split))) - set(empty)))
            if len(split) == 0:
                raise UserError(f"the {name} split has no row without an empty cell.")
        for column in self.text_columns:  # a column of numbers is a text too
            if split.features[column].dtype not in ("string", "large_string"):
                split = split.cast_column(column, Value("string"))
        return split

    def _label_names(self, train: Dataset) -> list[str]:
        feature = train.features[self.label_column]
        if isinstance(feature, ClassLabel):
            return list(feature.names)
        values = train.unique(self.label_column)
        if any(isinstance(value, float) and not value.is_integer() for value in values):
            raise UserError(
                f"task.data.label_column: '{self.label_column}' holds decimal numbers; "
                "set task.regression=true 'task.metrics=[pearson,spearmanr]' to predict them."
            )
        labels = list(dict.fromkeys(_as_label(value) for value in sorted(values)))
        if len(labels) < 2:
            raise UserError(
                f"task.data.label_column: '{self.label_column}' has one value only, '{labels[0]}': nothing to learn."
            )
        return labels

    def _with_label_ids(self, split: Dataset, name: str) -> Dataset:
        if self.regression:
            return self._with_label_numbers(split, name)
        feature = split.features[self.label_column]
        values = split[self.label_column]
        texts = [feature.int2str(v) for v in values] if isinstance(feature, ClassLabel) else map(_as_label, values)
        ids = {label: i for i, label in enumerate(self.labels)}
        labels = []
        for row, text in enumerate(texts):
            if text not in ids:
                raise UserError(
                    f"the {name} split has the label '{text}' (row {row + 1}), which the training split has not."
                    f"{nearest(text, ids)}"
                )
            labels.append(ids[text])
        return self._replace_label(split, labels, "int64")

    def _with_label_numbers(self, split: Dataset, name: str) -> Dataset:
        numbers = []
        for row, value in enumerate(split[self.label_column]):
            try:
                numbers.append(float(value))
            except ValueError:
                raise UserError(
                    f"the {name} split has the label {value!r} (row {row + 1}), which is no number; "
                    "a regression needs numbers (task.regression=false for classes)."
                ) from None
        return self._replace_label(split, numbers, "float32")

    def _replace_label(self, split: Dataset, labels: list[Any], dtype: str) -> Dataset:
        texts = split.select_columns(self.text_columns)
        return texts.add_column("labels", labels, feature=Value(dtype))


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value != value


def _as_label(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) else str(value).strip()
