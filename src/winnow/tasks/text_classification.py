"""Classify or score a text or a pair of texts: GLUE, reviews, a user's own tables."""

from collections.abc import Iterator
from typing import Any

from datasets import Dataset, DatasetDict, concatenate_datasets
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from winnow.config.task import UNLABELED
from winnow.data.batch import Batch, Columns, ModelOutputs
from winnow.data.cached_map import cached_map
from winnow.data.empty_rows import without_empty_rows
from winnow.data.text_column import text_column
from winnow.data.unlabeled import LABELLED
from winnow.errors import UserError
from winnow.tasks.label_kind import LabelKind, distinct, mapped_column, named_weights, targets_of
from winnow.tasks.label_predictor import LabelPredictor, text_windows
from winnow.tasks.label_scores import LabelScores
from winnow.tasks.metrics import only_metric
from winnow.tasks.multi_label import MultiLabel
from winnow.tasks.numeric_label import NumericLabel
from winnow.tasks.predictor import EVEN
from winnow.tasks.single_label import SingleLabel
from winnow.tasks.task import Task, check_metric_names, label_settings

_NO_LABEL = (-1, "-1", "", None)


class TextClassification(LabelPredictor, Task):
    """One label, any number of labels, or one number, for each text or text pair.

    Args:
        settings: as in `LabelPredictor`.
    """

    auto_model = AutoModelForSequenceClassification

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        separator = settings["data"]["label_separator"]
        self.label_kind = _label_kind(self.label_column, self.regression, self.multi_label, separator)
        check_metric_names(self.metric_names, self.label_kind.metrics, self.label_kind.description)
        self.drop_empty: bool = settings["data"]["drop_empty"]
        self.tunes_threshold = settings["threshold"] == "tuned"
        self.weights: Tensor | None = None  # of the labels; `prepare` sets them

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        labelled = self.labelled_splits(splits)
        checked = {name: self._checked(self.label_kind.read(split, name), name) for name, split in labelled.items()}
        self.labels = self.label_kind.names(checked["train"])
        self._check_threshold()
        for name, split in checked.items():
            self.label_kind.check_split(split, name, self.labels)
        prepared = DatasetDict({name: self._with_targets(split, name) for name, split in checked.items()})
        self.weights = self._loss_weights(prepared["train"])
        if UNLABELED in splits:
            prepared[UNLABELED] = self._with_any_targets(splits[UNLABELED], prepared["train"])
        return prepared

    def has_labels(self, split: Dataset) -> bool:
        """False without a label column, and for the test splits of benchmarks, whose labels are all -1 or blank."""
        if not super().has_labels(split):
            return False
        if split[0][self.label_column] not in _NO_LABEL:
            return True
        return any(value not in _NO_LABEL for value in distinct(split, self.label_column))

    def head_settings(self) -> dict[str, Any]:
        return {
            **(label_settings(self.labels) if self.labels else {"num_labels": 1}),
            "problem_type": self.label_kind.problem_type,
        }

    def encode(self, split: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool) -> Dataset:
        """One row for each window, with the label of its text; ``example`` and ``truncated`` only for evaluation."""
        fields, sizes = self.input_fields, self._window_sizes(tokenizer)
        kept = [name for name in ("labels", LABELLED) if name in split.column_names]

        # All that a mapped function refers to is part of the cache key: these few values, not the whole task.
        def features(rows: Columns, indices: list[int]) -> dict[str, Any]:
            windows = text_windows([rows[field] for field in fields], tokenizer, **sizes)
            texts, truncated = windows.pop("example"), windows.pop("truncated")
            windows |= {name: [rows[name][i] for i in texts] for name in kept}
            return windows if training else {**windows, "example": [indices[i] for i in texts], "truncated": truncated}

        return cached_map(split, features, batched=True, with_indices=True, remove_columns=split.column_names)

    def loss(self, outputs: ModelOutputs, batch: Batch) -> Tensor:
        logits = outputs.logits.float()
        weights = None if self.weights is None else self.weights.to(logits.device)
        return self.label_kind.loss(logits, batch["labels"], weights, self.label_smoothing)

    def distillation_loss(
        self, student: ModelOutputs, teacher: ModelOutputs, batch: Batch, *, temperature: float
    ) -> Tensor:
        return self.label_kind.distillation_loss(student.logits, teacher.logits, temperature=temperature)

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        return {"labels": LabelScores(split, self, self.label_kind)}

    def prediction_files(self, metrics: MetricCollection) -> dict[str, Any]:
        return {"class_report.json": only_metric(metrics, LabelScores).class_report()} if self.labels else {}

    def predictions(self, metrics: MetricCollection) -> Iterator[dict[str, Any]]:
        yield from only_metric(metrics, LabelScores).predictions()

    def best_threshold(self, metrics: MetricCollection) -> float:
        return only_metric(metrics, LabelScores).best_threshold()

    def _check_threshold(self) -> None:
        """Refuse a threshold where it would decide between more than two labels."""
        if self.label_kind.exclusive and len(self.labels) != 2 and (self.tunes_threshold or self.threshold != EVEN):
            value = "tuned" if self.tunes_threshold else f"{self.threshold:g}"
            raise UserError(
                f"task.threshold={value} decides between two labels, but '{self.label_column}' has {len(self.labels)}; "
                "leave it out."
            )

    def _loss_weights(self, train: Dataset) -> Tensor | None:
        """The weights of the labels in the training loss; None: all are 1."""
        if self.class_weights == "balanced":
            return self.label_kind.balanced_weights(targets_of(train), len(self.labels))
        return named_weights(self.class_weights, self.labels) if self.class_weights else None

    def _checked(self, split: Dataset, name: str) -> Dataset:
        """The split without rows that have an empty text or label."""
        columns = {**dict.fromkeys(self.text_columns, True), self.label_column: self.label_kind.blank_is_missing}
        return without_empty_rows(split, name, columns, drop=self.drop_empty)

    def _with_targets(self, split: Dataset, name: str) -> Dataset:
        """The texts, and ``labels`` in the form that the loss needs."""
        kind, names, feature = self.label_kind, self.labels, split.features[self.label_column]
        labels = mapped_column(
            split,
            name,
            self.label_column,
            lambda cells: kind.targets(cells, feature, names),
            "labels",
            kind.target_feature(names),
        )
        return concatenate_datasets([*self._texts(split, name), labels], axis=1)

    def _with_any_targets(self, split: Dataset, train: Dataset) -> Dataset:
        """The texts of the split without labels, each with the first target of the training split."""
        columns = dict.fromkeys(self.text_columns, True)
        split, target = without_empty_rows(split, UNLABELED, columns, drop=self.drop_empty), train[0]["labels"]
        labels = mapped_column(
            split,
            UNLABELED,
            self.text_columns[0],
            lambda cells: [target] * len(cells),
            "labels",
            train.features["labels"],
        )
        return concatenate_datasets([*self._texts(split, UNLABELED), labels], axis=1)

    def _texts(self, split: Dataset, name: str) -> list[Dataset]:
        """The columns of texts under the names of ``input_fields``."""
        return [
            text_column(split, column, field, name)
            for column, field in zip(self.text_columns, self.input_fields, strict=True)
        ]


def _label_kind(column: str, regression: bool, multi_label: bool, separator: str | None) -> LabelKind:
    if multi_label:
        return MultiLabel(column, separator)
    return NumericLabel(column) if regression else SingleLabel(column)
