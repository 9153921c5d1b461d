"""The interface of a task: rows to features, head, loss, metrics, predictions. Other code knows no task by name."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from hydra.utils import get_class
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from transformers import PreTrainedTokenizerBase

from winnow.config.task import UNLABELED, TaskSettings
from winnow.data.batch import Batch, Collator, Columns, ModelOutputs
from winnow.data.padding import pad_batch
from winnow.data.unlabeled import LABELLED
from winnow.errors import UserError, first_line, nearest

SCORE_DIGITS = 6  # decimal places of the scores in a prediction
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

Row = Mapping[str, Any]
WindowPrediction = Mapping[str, NDArray[Any]]


class Task:
    """Base class: a subclass defines the features of its rows, the model's head, the loss and the metrics.

    Args:
        name: name of the task, for folders and tables.
        metrics: names of the metrics; the first one chooses the best model.
        data: the ``task.data`` section; the names of the columns are read here.
    """

    auto_model: Any  # the Auto class of transformers with this head; these classes share no public base class
    output_names: Sequence[str] = ("logits",)  # outputs of the deployed graph; empty: the task cannot be deployed
    outputs_per_token = False  # True: outputs for each token; False: for each text
    random_inputs = False  # True: the same example looks different in each training batch
    max_length: int  # tokens of the longest input
    extra_padding: Mapping[str, int] = {}  # padding values of columns that are not inputs of the model
    tokenizer_options: Mapping[str, Any] = {}  # passed to the tokenizer when it is loaded
    input_fields: Sequence[str] = ("text",)  # names of the texts in a row to predict
    unrepeated_fields: Sequence[str] = ()  # those of them that the answer for a row leaves out
    accepts_word_lists = False  # True: a text may be a list of words
    split_punctuation = False  # True: prediction splits punctuation from words
    supports_top_k = True  # False: a prediction has no ranking of labels or answers

    def __init__(self, *, name: str, metrics: Sequence[str], data: Mapping[str, Any]) -> None:
        self.name = name
        self.metric_names = list(metrics)
        self.text_columns: list[str] = list(data["text_columns"])
        self.label_column: str = data["label_column"]
        self.labels: list[str] = []  # label names in the order of their ids; `prepare` sets them

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        """Check the rows of every split and bring them into one form; an unlabelled test split is left out.

        The split UNLABELED gets the columns of the others, with labels that stand for nothing.
        """
        raise NotImplementedError

    def has_labels(self, split: Dataset) -> bool:
        """False for a test split without labels."""
        return self.label_column in split.column_names

    def labelled_splits(self, splits: DatasetDict) -> DatasetDict:
        """All splits except an unlabelled test split, and the one that has no labels by its name."""
        with_labels = {name: split for name, split in splits.items() if name != UNLABELED}
        return DatasetDict(
            {name: split for name, split in with_labels.items() if name != "test" or self.has_labels(split)}
        )

    def head_settings(self) -> dict[str, Any]:
        """Settings of the model's configuration for this head."""
        return {}

    def encode(self, split: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool) -> Dataset:
        """Features of a split: inputs of the model, targets of the loss or the metrics, ``length`` in tokens.

        A long row may become several windows, each with its own row of features.
        """
        raise NotImplementedError

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Collator:
        """Pads a batch to its longest text; on a GPU to a multiple of 8, which its matrix units need."""
        multiple = 8 if torch.cuda.is_available() else 1
        return partial(pad_batch, padding_values=self.padding_values(tokenizer), multiple=multiple)

    def padding_values(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
        """The padding value of each column that has one value per token."""
        return {
            "input_ids": tokenizer.pad_token_id,
            "token_type_ids": tokenizer.pad_token_type_id,
            "attention_mask": 0,
            **self.extra_padding,
        }

    def outputs(self, model: nn.Module, batch: Batch) -> ModelOutputs:
        """The forward pass of a student or a teacher."""
        outputs: ModelOutputs = model(**{name: batch[name] for name in MODEL_INPUTS if name in batch})
        return outputs

    def loss(self, outputs: ModelOutputs, batch: Batch) -> Tensor:
        """Mean loss of a training batch whose rows all have labels."""
        raise NotImplementedError

    def training_loss(self, outputs: ModelOutputs, batch: Batch) -> Tensor:
        """Mean loss of the rows of a training batch that have labels; 0 if none has."""
        if LABELLED not in batch:
            return self.loss(outputs, batch)
        labelled = batch[LABELLED]
        values = {name: getattr(outputs, name) for name in self.output_names}
        if not labelled.any():
            return 0.0 * sum((value.float().sum() for value in values.values()), torch.tensor(0.0))
        rows = {name: column[labelled] for name, column in batch.items()}
        return self.loss(SimpleNamespace(**{name: value[labelled] for name, value in values.items()}), rows)

    def distillation_loss(
        self, student: ModelOutputs, teacher: ModelOutputs, batch: Batch, *, temperature: float
    ) -> Tensor:
        """Mean distance of the student's outputs from the teacher's."""
        raise NotImplementedError

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        """New metrics for one prepared split. A metric may compute several named values."""
        raise NotImplementedError

    def update_metrics(self, metrics: MetricCollection, outputs: ModelOutputs, batch: Batch) -> None:
        raise NotImplementedError

    def prediction_files(self, metrics: MetricCollection) -> dict[str, Any]:
        """File name -> JSON content, from metrics that were updated with every batch of a split."""
        return {}

    def encode_inputs(self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> Columns:
        """Features of rows without labels, truncated and split into windows as `encode` does it for evaluation.

        Args:
            rows: each has a text for each name in ``input_fields``.
            tokenizer: tokenizer of the model.

        Returns:
            Columns with one value for each window: inputs of the model, ``length`` in tokens, ``example`` (the index
            of the window's row), and what `window_predictions` needs.
        """
        raise NotImplementedError

    def window_predictions(self, outputs: ModelOutputs, batch: Batch) -> dict[str, Tensor]:
        """The few values of each window that `row_prediction` needs, ``(windows, ...)`` each."""
        raise NotImplementedError

    def row_prediction(self, row: Row, windows: Sequence[WindowPrediction], top_k: int | None) -> dict[str, Any]:
        """The prediction for one row, as JSON values, without the texts of the row.

        Args:
            row: a row given to `encode_inputs`.
            windows: the window predictions of this row.
            top_k: also list this many of the best labels or answers; None for no list.
        """
        raise NotImplementedError

    def example_prediction(self, top_k: int | None) -> dict[str, Any]:
        """A prediction that has every field and every kind of entry, for the columns of a table of predictions.

        Args:
            top_k: as in `row_prediction`.
        """
        raise NotImplementedError

    def texts(self, split: Dataset) -> list[str]:
        """Some texts of a prepared split, which has a column for each of ``input_fields``, to compare tokenizers on."""
        return [text for field in self.input_fields for text in split[:100][field] if text]


def label_settings(labels: Sequence[str]) -> dict[str, Any]:
    """Settings of the model's configuration for a head with one output for each label."""
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def check_metric_names(metrics: Sequence[str], known: Collection[str], kind: str) -> None:
    """Raise an error for a metric that this kind of task does not have."""
    for metric in metrics:
        if metric not in known:
            raise UserError(
                f"task.metrics: {kind} has no metric '{metric}'; choose from {', '.join(known)}."
                f"{nearest(metric, known)}"
            )


def build_task(settings: TaskSettings) -> Task:
    """The task of a section.

    Raises:
        UserError: if its ``_target_`` is not a task, or does not take its settings.
    """
    try:
        family = get_class(settings.target)
    except Exception as error:  # importing a user's module may fail in any way
        raise UserError(f"task._target_={settings.target} could not be imported ({first_line(error)}).") from error
    if not issubclass(family, Task):
        raise UserError(f"task._target_={settings.target} is not a subclass of winnow.tasks.task.Task.")
    try:
        return family(**settings.arguments())
    except TypeError as error:
        raise UserError(f"task: {first_line(error)}.") from error
