"""Classify or score a text or a pair of texts: GLUE, reviews, a user's own tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, Features, Value, concatenate_datasets
from torch import Tensor
from torchmetrics import Metric
from transformers import AutoModelForSequenceClassification

from winnow.data.cached_map import cached_map
from winnow.data.empty_rows import without_empty_rows
from winnow.errors import UserError
from winnow.tasks.labels import LabelKind, MultiLabel, Number, SingleLabel
from winnow.tasks.task import Task, check_metric_names


class TextClassification(Task):
    """One label, any number of labels, or one number, for each text or text pair.

    Args:
        name: of the task, for folders and tables.
        metrics: names of the metrics; the first chooses the best model.
        regression: labels are numbers.
        multi_label: a row has any number of labels.
        max_length: tokens a text is cut to.
        data: the ``task.data`` section; text and label columns are read here.
    """

    auto_model = AutoModelForSequenceClassification

    def __init__(
        self,
        *,
        name: str,
        metrics: Sequence[str],
        regression: bool,
        multi_label: bool,
        max_length: int,
        data: Mapping[str, Any],
    ) -> None:
        super().__init__(name=name, metrics=metrics, data=data)
        self.kind = _label_kind(self.label_column, regression, multi_label, data["label_separator"])
        check_metric_names(metrics, self.kind.metrics, self.kind.called)
        self.max_length = max_length
        if len(self.text_columns) not in (1, 2):
            raise UserError(f"task.data.text_columns must be one column or two, got {self.text_columns}.")
        self.asked = ("text", "text_pair")[: len(self.text_columns)]
        self.ranks = not regression
        self.drop_empty: bool = data["drop_empty"]

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        if "test" in splits and self._is_unlabelled(splits["test"]):
            splits = DatasetDict({name: split for name, split in splits.items() if name != "test"})
        for split in splits.values():
            self.kind.check_type(split.features[self.label_column])
        prepared = DatasetDict({name: self._checked(split, name) for name, split in splits.items()})
        self.labels = self.kind.names(prepared["train"])
        return DatasetDict({name: self._with_targets(split, name) for name, split in prepared.items()})

    def head_settings(self) -> dict[str, Any]:
        if not self.labels:
            return {"num_labels": 1, "problem_type": self.kind.problem_type}
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: i for i, label in enumerate(self.labels)},
            "problem_type": self.kind.problem_type,
        }

    def encode(self, split: Dataset, tokenizer: Any, *, training: bool) -> Dataset:
        columns, max_length = self.text_columns, min(self.max_length, tokenizer.model_max_length)

        # The cache knows a function by all that it refers to: these few values, and not the rest of the task.
        def features(rows: Mapping[str, list]) -> dict[str, Any]:
            encoded = tokenized([rows[column] for column in columns], tokenizer, max_length)
            return {**encoded, "labels": rows["labels"], "length": [len(ids) for ids in encoded["input_ids"]]}

        return cached_map(split, features, batched=True, remove_columns=split.column_names)

    def loss(self, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        return self.kind.loss(outputs.logits.float(), batch["labels"])

    def distillation_loss(
        self, student: Any, teacher: Any, batch: Mapping[str, Tensor], *, temperature: float
    ) -> Tensor:
        return self.kind.distillation_loss(student.logits, teacher.logits, temperature=temperature)

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        return {name: self.kind.metrics[name](len(self.labels)) for name in self.metric_names}

    def update_metrics(self, metrics: Any, outputs: Any, batch: Mapping[str, Tensor]) -> None:
        metrics.update(self.kind.predictions(outputs.logits.float()), batch["labels"])

    def questions(self, rows: Sequence[Mapping[str, Any]], tokenizer: Any) -> Mapping[str, Sequence]:
        max_length = min(self.max_length, tokenizer.model_max_length)
        encoded = tokenized([[row[name] for row in rows] for name in self.asked], tokenizer, max_length)
        return {
            **encoded,
            "length": [len(ids) for ids in encoded["input_ids"]],
            "example": range(len(rows)),
            "truncated": were_cut(encoded),
        }

    def readings(self, outputs: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"score": self.kind.scores(outputs.logits.float()), "truncated": batch["truncated"]}

    def answer(
        self, row: Mapping[str, Any], windows: Sequence[Mapping[str, np.ndarray]], top_k: int | None
    ) -> dict[str, Any]:
        (window,) = windows
        said = self.kind.answer(window["score"].tolist(), self.labels, top_k)
        return {**row, **said, **({"truncated": True} if window["truncated"] else {})}

    def _is_unlabelled(self, split: Dataset) -> bool:
        """True for the test splits of benchmarks, whose labels are all -1, and for tables without a label column."""
        if self.label_column not in split.column_names:
            return True
        return split[0][self.label_column] == -1 and split.unique(self.label_column) == [-1]

    def _checked(self, split: Dataset, name: str) -> Dataset:
        columns = {**dict.fromkeys(self.text_columns, True), self.label_column: self.kind.blank_is_missing}
        split = without_empty_rows(split, name, columns, drop=self.drop_empty)
        for column in self.text_columns:  # a column of numbers is a text too
            if split.features[column].dtype not in ("string", "large_string"):
                split = split.cast_column(column, Value("string"))
        return split

    def _with_targets(self, split: Dataset, name: str) -> Dataset:
        """The text columns as they are, and ``labels`` as the loss needs them."""
        kind, names, feature = self.kind, self.labels, split.features[self.label_column]

        def targets(cells: Sequence[Any], rows: Sequence[int]) -> dict[str, list]:
            def refusal(cell: int, label: str, why: str) -> UserError:
                return UserError(f"the {name} split has the label {label} (row {rows[cell] + 1}), {why}")

            return {"labels": kind.targets(cells, feature, names, refusal)}

        labels = cached_map(
            split.select_columns([self.label_column]),
            targets,
            batched=True,
            with_indices=True,
            input_columns=[self.label_column],
            remove_columns=[self.label_column],
            features=Features({"labels": kind.target_feature(names)}),
        )
        return concatenate_datasets([split.select_columns(self.text_columns), labels], axis=1)


def tokenized(texts: Sequence[Sequence[str]], tokenizer: Any, max_length: int) -> Any:
    """Tokens of texts, or of pairs where ``texts`` has two columns, of which the longest lose their ends."""
    return tokenizer(*texts, truncation=True, max_length=max_length)


def were_cut(encoded: Any) -> list[bool]:
    """For each text whether it had more tokens; known of the tokenizers library's own alone."""
    return [bool(encoding.overflowing) for encoding in encoded.encodings or ()] or [False] * len(encoded["input_ids"])


def _label_kind(column: str, regression: bool, multi_label: bool, separator: str | None) -> LabelKind:
    if regression and multi_label:
        raise UserError("task.regression=true and task.multi_label=true exclude one another; leave one of them out.")
    if multi_label:
        return MultiLabel(column, separator)
    if separator is not None:
        raise UserError(f"task.data.label_separator={separator} has no effect without task.multi_label=true.")
    return Number(column) if regression else SingleLabel(column)
