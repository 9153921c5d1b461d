"""The interface of a label kind, and what several kinds share: names and ids of labels."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import ClassLabel, Dataset, Features, LargeList, List
from torch import Tensor
from torchmetrics import Metric

from winnow.data.cached_map import cached_map
from winnow.data.places import place_of
from winnow.errors import UserError, nearest
from winnow.functional.printed import as_printed_list


class LabelError(ValueError):
    """A cell that holds no valid label.

    Args:
        cell: index of the cell among those at hand.
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
    exclusive = False  # True: a row has exactly one of the labels

    def __init__(self, column: str) -> None:
        self.column = column

    def read(self, split: Dataset, name: str) -> Dataset:
        """The split with its label column in the form that the other methods take.

        Raises:
            UserError: for a label column of another kind.
        """
        if is_list(split.features[self.column]) or any(
            is_printed_list(value) for value in distinct(split, self.column)
        ):
            raise UserError(
                f"task.data.label_column: '{self.column}' of the {name} split holds lists; "
                "set task.multi_label=true (and task.regression=false) to predict all labels of a row."
            )
        return split

    def check_split(self, split: Dataset, name: str, names: Sequence[str]) -> None:
        """Raise an error for labels that the training split lacks; note what makes a metric meaningless."""

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

    def balanced_weights(self, targets: Tensor, count: int) -> Tensor:
        """The weight of each of ``count`` labels that makes up for its frequency in the targets of a split."""
        raise NotImplementedError

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """Mean over a batch.

        Args:
            logits: float32, ``(batch, outputs)``.
            targets: as `targets` makes them.
            weights: of the labels, ``(outputs,)``; None: all are 1.
            smoothing: fraction of a target that is spread evenly, in [0, 1).
        """
        raise NotImplementedError

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        raise NotImplementedError

    def truth(self, target: Any, names: Sequence[str]) -> dict[str, Any]:
        """The true label of one text, beside its prediction."""
        raise NotImplementedError


def named_weights(weights: Mapping[str, float], names: Sequence[str]) -> Tensor:
    """The weight of each label, ``(labels,)``; 1 where none is given.

    Raises:
        UserError: for a label that does not exist.
    """
    ids, values = label_ids(names), [1.0] * len(names)
    for label, weight in weights.items():
        if plain_number(label) not in ids:
            shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
            raise UserError(
                f"task.class_weights: there is no label '{label}'; the labels are {shown}.{nearest(label, names)}"
            )
        values[ids[plain_number(label)]] = weight
    return torch.tensor(values)


def targets_of(split: Dataset) -> Tensor:
    """The targets of a prepared split, ``(rows,)`` or ``(rows, labels)``."""
    return torch.from_numpy(split.select_columns(["labels"]).with_format("numpy")["labels"][:])


def is_list(feature: Any) -> bool:
    return isinstance(feature, (List, LargeList))


def mapped_column(
    split: Dataset, name: str, column: str, function: Callable[[Sequence[Any]], list[Any]], field: str, feature: Any
) -> Dataset:
    """A column alone, mapped; a `LabelError` becomes an error that names the row.

    Args:
        split: any rows.
        name: name of the split.
        column: of labels, words or tags.
        function: from some cells to their new values.
        field: name of the new column.
        feature: type of a new value.
    """

    def mapped(cells: Sequence[Any], rows: Sequence[int]) -> dict[str, list[Any]]:
        try:
            return {field: function(cells)}
        except LabelError as error:
            raise LabelError(rows[error.cell], str(error)) from error

    try:
        return cached_map(
            split.select_columns([column]),
            mapped,
            batched=True,
            with_indices=True,
            input_columns=[column],
            remove_columns=[column],
            features=Features({field: feature}),
        )
    except LabelError as error:
        raise UserError(f"{place_of(split, name, error.cell)}: {error}") from error


def distinct(split: Dataset, column: str) -> dict[Any, int]:
    """Value -> the number of its cells, without missing values; for lists the number of its places in them."""
    counts: dict[Any, int] = {}
    for table in split.select_columns([column]).with_format("arrow").iter(10_000):
        cells = table[column]
        cells = pc.list_flatten(cells) if pa.types.is_nested(cells.type) else cells
        for pair in pc.value_counts(cells).to_pylist():
            if pair["values"] is not None:
                counts[pair["values"]] = counts.get(pair["values"], 0) + pair["counts"]
    return counts


def check_known(split: Dataset, column: str, name: str, names: Sequence[str]) -> None:
    """Raise an error for the labels in a column, or in its lists, that the training split lacks."""
    feature = split.features[column]
    inner = feature.feature if is_list(feature) else feature
    known = label_ids(names)
    unknown: dict[str, int] = {}
    for value, count in distinct(split, column).items():
        label = label_name(value, inner)
        if label and plain_number(label) not in known:
            unknown[label] = unknown.get(label, 0) + count
    if unknown:
        row = first_row(split, column, lambda value: label_name(value, inner) in unknown)
        if name == "train":  # the classes have names, and this is the number of none
            raise UserError(
                f"{place_of(split, name, row)}: the label {next(iter(unknown))} is no class; those of '{column}' are 0 "
                f"to {len(names) - 1}. Correct it or leave the row out."
            )
        raise UserError(unknown_labels(unknown, names, name, place_of(split, name, row), "label"))


def unknown_labels(labels: Mapping[str, int], known: Iterable[str], split: str, place: str, word: str) -> str:
    """The message for labels that the training split lacks.

    Args:
        labels: unknown label -> how often it occurs.
        known: labels of the training split.
        split: name of the split.
        place: of the first of them.
        word: label or tag.
    """
    shown = [f"'{label}' ({count:,} times)" for label, count in itertools.islice(labels.items(), _SHOWN)]
    more = f" and {len(labels) - _SHOWN:,} more" if len(labels) > _SHOWN else ""
    first = next(iter(labels))
    return (
        f"{place}: {word} '{first}' does not occur in the training split; of the {word}s of the {split} split it lacks "
        f"{', '.join(shown)}{more}. Correct them or add training rows with them.{nearest(first, known)}"
    )


def sorted_names(values: Iterable[Any], feature: Any = None) -> list[str]:
    """The different names of some label values: numbers by value, texts in alphabetical order.

    A number is one label, whether it is written as 1 or as 1.0.
    """
    names: dict[str, str] = {}
    for name in sorted({label_name(value, feature) for value in values} - {""}, key=len):
        names.setdefault(plain_number(name), name)
    return sorted(names.values(), key=_number_or_text if all(map(is_number, names)) else None)


def label_name(value: Any, feature: Any) -> str:
    """The name of a label value; '' for a missing value."""
    if value is None:
        return ""
    if isinstance(feature, ClassLabel):
        return str(feature.names[value]) if value in range(len(feature.names)) else str(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def label_ids(names: Iterable[str]) -> dict[str, int]:
    """The plain form of each label name -> its id."""
    return {plain_number(name): i for i, name in enumerate(names)}


def plain_number(name: str) -> str:
    """A whole number without decimals, another name as it is."""
    return name.partition(".")[0] if _WHOLE.fullmatch(name) else name


def label_id(name: str, ids: Mapping[str, int], cell: int) -> int:
    """The id of a label name.

    Raises:
        LabelError: if the name is empty.
    """
    if not name:
        raise LabelError(cell, "the label '' is empty; fill it or leave the row out.")
    return ids[plain_number(name)]


def first_row(split: Dataset, column: str, is_it: Callable[[Any], bool]) -> int:
    """The first row whose cell, or an item of whose list, is what is looked for."""
    for row, cell in enumerate(split.select_columns([column])[column]):
        if any(map(is_it, cell if isinstance(cell, list) else [cell])):
            return row
    raise AssertionError("no row has it")


def is_number(name: str) -> bool:
    return _NUMBER.fullmatch(name) is not None


def is_float(values: Iterable[Any]) -> bool:
    """True if the file has decimal numbers, not texts that look so."""
    return any(isinstance(value, float) for value in values)


def is_printed_list(value: Any) -> bool:
    """True for a text that JSON, Python or numpy prints for a list, a tuple or a set."""
    if not isinstance(value, str):
        return False
    return as_printed_list(value) is not None or any(form.fullmatch(value) for form in (_QUOTED, _NUMPY))


def _number_or_text(name: str) -> tuple[float, str]:
    return float(name), name


_SHOWN = 10  # labels in a message
_QUOTED = re.compile(r"""\s*[\[({]\s*['"].*[\])}]\s*""", re.DOTALL)
_NUMPY = re.compile(r"\s*\[\s*(?:\d[\d.\s]*|(?:True|False)[\sTrueFals]*)\]\s*", re.ASCII)  # without commas
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_WHOLE = re.compile(r"-?\d+\.0+", re.ASCII)
