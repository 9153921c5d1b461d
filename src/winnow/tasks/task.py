"""What every task is: example -> features, head, loss, metrics. The rest of the project knows no task by name."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from hydra.utils import get_class
from torch import Tensor, nn
from torchmetrics import Metric

from winnow.config.task import TaskSettings
from winnow.data.padding import pad_batch
from winnow.errors import UserError, first_line, nearest

DIGITS = 6  # behind the point of a score that a user is told
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Task:
    """A subclass says how its rows become features, which head a model gets, and how it is trained and scored.

    Args:
        name: of the task, for folders and tables.
        metrics: names of the metrics; the first chooses the best model.
        data: the ``task.data`` section; the columns are read here.
    """

    auto_model: Any  # the class of transformers that has the head
    output_names: Sequence[str] = ("logits",)  # what a deployed model says; nothing: it is not deployed
    outputs_per_token = False  # else one for each text
    random_inputs = False  # an example looks different in each training batch
    max_length: int  # tokens of the longest input
    padding: Mapping[str, int] = {}  # column -> what fills the short rows of a batch, beside the inputs of the model
    tokenizer_options: Mapping[str, Any] = {}  # what a tokenizer is told when it is loaded
    asked: Sequence[str] = ("text",)  # what the texts of a row are called where the model is used
    word_lists = False  # a text may be a list of words
    split_punctuation = False  # of a text that is split into words, where the model is used
    ranks = True  # a row has a best answer, and others after it

    def __init__(self, *, name: str, metrics: Sequence[str], data: Mapping[str, Any]) -> None:
        self.name = name
        self.metric_names = list(metrics)
        self.text_columns: list[str] = list(data["text_columns"])
        self.label_column: str = data["label_column"]
        self.labels: list[str] = []  # names in the order of their ids, known once the data are

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        """Check the rows of every split; a test split without labels is left out."""
        raise NotImplementedError

    def head_settings(self) -> dict[str, Any]:
        """What the configuration of a model with this task's head must say."""
        return {}

    def encode(self, split: Dataset, tokenizer: Any, *, training: bool) -> Dataset:
        """What the model sees: token ids, what loss or metrics need, and ``length`` in tokens.

        Rows may outnumber the examples, where a long one becomes several windows.
        """
        raise NotImplementedError

    def collator(self, tokenizer: Any) -> Callable[[Mapping[str, Sequence]], dict[str, Tensor]]:
        """Pads a batch to its longest text; for a GPU, whose matrix units work in eights, to a multiple of 8."""
        return partial(pad_batch, fill=self.fill(tokenizer), multiple=8 if torch.cuda.is_available() else 1)

    def fill(self, tokenizer: Any) -> dict[str, int]:
        """What fills up the short rows of a batch, a value for each column of tokens."""
        return {
            "input_ids": tokenizer.pad_token_id,
            "token_type_ids": tokenizer.pad_token_type_id,
            "attention_mask": 0,
            **self.padding,
        }

    def outputs(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Any:
        """What a model, student or teacher, says of a batch."""
        return model(**{name: batch[name] for name in MODEL_INPUTS if name in batch})

    def loss(self, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError

    def distillation_loss(
        self, student: Any, teacher: Any, batch: Mapping[str, Tensor], *, temperature: float
    ) -> Tensor:
        raise NotImplementedError

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        """Fresh metrics for one split, which is as `prepare` left it. A metric may compute several values by name."""
        raise NotImplementedError

    def update_metrics(self, metrics: Any, outputs: Any, batch: Mapping[str, Tensor]) -> None:
        raise NotImplementedError

    def predictions(self, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        """File name -> what it should say of a split whose metrics have seen every batch; JSON values."""
        return {}

    def questions(self, rows: Sequence[Mapping[str, Any]], tokenizer: Any) -> Mapping[str, Sequence]:
        """What the model sees of rows without labels, cut and split as `encode` does it for an evaluation.

        Args:
            rows: with a text for each name in ``asked``.
            tokenizer: of the model.

        Returns:
            Columns with a value for each window: the inputs, ``length`` in tokens, ``example``, the place of its row,
            and what `readings` needs.
        """
        raise NotImplementedError

    def readings(self, outputs: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The small part of a model's outputs that answers are made of, ``(windows, ...)`` each."""
        raise NotImplementedError

    def answer(
        self, row: Mapping[str, Any], windows: Sequence[Mapping[str, np.ndarray]], top_k: int | None
    ) -> dict[str, Any]:
        """What is said of a row; JSON values.

        Args:
            row: one of those that `questions` saw.
            windows: the readings of each of its windows.
            top_k: so many of the best are listed too; None for no list.
        """
        raise NotImplementedError

    def texts(self, split: Dataset) -> list[str]:
        """Some texts of a split, on which two tokenizers can be compared."""
        return [str(text) for column in self.text_columns for text in split[:100][column]]


def check_metric_names(metrics: Sequence[str], known: Collection[str], kind: str) -> None:
    """Refuse a metric that a kind of task does not have."""
    for metric in metrics:
        if metric not in known:
            raise UserError(
                f"task.metrics: '{metric}' is no metric of {kind}; there are {', '.join(known)}."
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
