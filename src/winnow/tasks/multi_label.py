"""Any number of classes for each text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from datasets import ClassLabel, Dataset, List, Value, concatenate_datasets
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelPrecision,
    MultilabelRecall,
)

from winnow.data.places import place_of
from winnow.errors import UserError
from winnow.functional.distillation_loss import binary_distillation_loss
from winnow.functional.printed import as_printed_list
from winnow.tasks.alike_labels import note_alike
from winnow.tasks.label_kind import (
    LabelError,
    LabelKind,
    check_known,
    distinct,
    is_list,
    is_printed_list,
    label_id,
    label_ids,
    label_name,
    mapped_column,
    sorted_names,
)

_MULTI_HOT = {"0", "1", "0.0", "1.0", "true", "false"}


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
        "f1_micro": lambda n: MultilabelF1Score(n, average="micro"),
        "f1_macro": lambda n: MultilabelF1Score(n, average="macro"),
        "precision": lambda n: MultilabelPrecision(n, average="micro"),
        "recall": lambda n: MultilabelRecall(n, average="micro"),
        "accuracy": lambda n: MultilabelExactMatch(n),  # all labels of a row are right
    }
    blank_is_missing = False

    def __init__(self, column: str, separator: str | None) -> None:
        super().__init__(column)
        self.separator = separator

    def read(self, split: Dataset, name: str) -> Dataset:
        """The split with a list of labels in each cell of the label column."""
        feature = split.features[self.column]
        if self.separator is not None and is_list(feature):
            raise UserError(
                f"task.data.label_separator: '{self.column}' holds lists, which need no separator; "
                "set task.data.label_separator=null."
            )
        if not is_list(feature):
            split = self._with_lists(split, name)
        self._check_names(split, name)
        return split

    def _with_lists(self, split: Dataset, name: str) -> Dataset:
        """The split with the texts of the label column as lists."""
        texts = [str(value) for value in distinct(split, self.column) if str(value).strip()]
        printed = [text for text in texts if is_printed_list(text)]
        if self.separator is not None and printed:
            raise UserError(
                f"task.data.label_separator: '{self.column}' of the {name} split holds printed lists such as "
                f"{printed[0]}, which need no separator; set task.data.label_separator=null."
            )
        if self.separator is None and not printed:
            raise UserError(
                f"task.data.label_column: '{self.column}' of the {name} split holds no lists; name the separator of "
                "the labels in a cell, \"task.data.label_separator=','\", or set task.multi_label=false."
            )
        separator = self.separator

        def lists(cells: Sequence[Any]) -> list[Any]:
            return [_labels_of(text, separator, cell) for cell, text in enumerate(cells)]

        labels = mapped_column(split, name, self.column, lists, self.column, List(Value("string")))
        return concatenate_datasets([split.remove_columns([self.column]), labels], axis=1)

    def _check_names(self, split: Dataset, name: str) -> None:
        """Refuse lists with a 0 or 1, or true or false, for each class."""
        if isinstance(split.features[self.column].feature, ClassLabel):
            return
        values = {label_name(value, None).lower() for value in distinct(split, self.column)}
        if not values or not values <= _MULTI_HOT:
            return
        lists = [cell or [] for cell in split.select_columns([self.column])[self.column]]
        row = next((row for row, cell in enumerate(lists) if len(set(cell)) < len(cell)), 0)
        if {len(cell) for cell in lists} == {2} or len(set(lists[row])) < len(lists[row]):
            raise UserError(
                f"{place_of(split, name, row)}: the label [{', '.join(map(str, lists[row]))}] has a 0 or 1 for each "
                f'class; a list in \'{self.column}\' must name the labels that apply, such as ["action", "drama"].'
            )

    def names(self, train: Dataset) -> list[str]:
        feature = train.features[self.column]
        if isinstance(feature.feature, ClassLabel):
            labels = list(feature.feature.names)
        else:
            labels = sorted_names(distinct(train, self.column))
            note_alike(labels, self.column)
        if len(labels) < 2:
            found = f"the single label '{labels[0]}'" if labels else "no label"
            raise UserError(
                f"task.data.label_column: '{self.column}' has {found}, but task.multi_label=true needs two or more; "
                "for one label write yes or no in each row and set task.multi_label=false."
            )
        return labels

    def check_split(self, split: Dataset, name: str, names: Sequence[str]) -> None:
        check_known(split, self.column, name, names)

    def targets(self, cells: Sequence[Any], feature: Any, names: Sequence[str]) -> list[Any]:
        ids = label_ids(names)
        targets = []
        for cell, labels in enumerate(cells):
            target = [0.0] * len(names)
            for label in labels:
                target[label_id(label_name(label, feature.feature), ids, cell)] = 1.0
            targets.append(target)
        return targets

    def target_feature(self, names: Sequence[str]) -> Any:
        return List(Value("float32"), length=len(names))

    def balanced_weights(self, targets: Tensor, count: int) -> Tensor:
        """Rows without the label / rows with it."""
        positive = targets.sum(dim=0)
        return (len(targets) - positive).clamp(min=1) / positive.clamp(min=1)

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """The weight of a label counts in the rows that have it; a smoothed target is a fraction nearer to 0.5."""
        smoothed = targets.float() * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, pos_weight=weights)

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        return binary_distillation_loss(student, teacher, temperature=temperature)

    def truth(self, target: Any, names: Sequence[str]) -> dict[str, Any]:
        return {"true_labels": [name for name, applies in zip(names, target, strict=True) if applies]}


def _labels_of(text: Any, separator: str | None, cell: int) -> list[Any] | None:
    """The labels in a text: between separators, or in a printed list."""
    if text is None or not str(text).strip():
        return text if text is None else []
    if separator is not None:
        return [label for label in str(text).split(separator) if label.strip()]
    labels = as_printed_list(str(text))
    if labels is None or not all(isinstance(label, str) for label in labels):
        raise LabelError(
            cell,
            f"the label {text} is no list of labels as Python or JSON write it, such as ['action', 'drama']; correct "
            "it (numpy writes no commas: use .tolist() before writing the file).",
        )
    return labels
