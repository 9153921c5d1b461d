"""The interface of a task: rows to features, head, loss, metrics. Other code knows no task by name."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from hydra.utils import get_class
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from transformers import PreTrainedTokenizerBase

from winnow.config.task import UNLABELED, TaskSettings
from winnow.data.batch import Batch, Collator, ModelOutputs
from winnow.data.batching import pad_batch
from winnow.data.unlabeled import LABELLED
from winnow.errors import UserError, first_line, nearest
from winnow.tasks.predictor import Predictor

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Task(Predictor):
    """Base class: a subclass defines the features of its rows, the model's head, the loss and the metrics.

    What it needs to predict is in `Predictor`; the shipped tasks have it in a class of its own that imports no torch.
    """

    auto_model: Any  # the Auto class of transformers with this head; these classes share no public base class
    outputs_per_token = False  # True: outputs for each token; False: for each text
    random_inputs = False  # True: the same example looks different in each training batch
    tokenizer_options: Mapping[str, Any] = {}  # passed to the tokenizer when it is loaded
    tunes_threshold = False  # True: `best_threshold` sets it after the training

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        """Check the rows of every split and bring them into one form; an unlabelled test split is left out.

        Sets ``labels``. The split UNLABELED gets the columns of the others, with labels that stand for nothing.
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
        """Add a batch; here as window predictions, from which the metrics make predictions at the end of the split."""
        device = batch["example"].device
        arrays = {name: getattr(outputs, name).float().cpu().numpy() for name in self.output_names}
        windows = self.window_predictions(arrays, {name: column.cpu().numpy() for name, column in batch.items()})
        metrics.update(**{name: torch.from_numpy(values).to(device) for name, values in windows.items()})

    def prediction_files(self, metrics: MetricCollection) -> dict[str, Any]:
        """File name -> JSON content, from metrics that were updated with every batch of a split."""
        return {}

    def predictions(self, metrics: MetricCollection) -> Iterator[dict[str, Any]]:
        """For each row its prediction and what is true, from metrics as above; none for a task without answers."""
        yield from ()

    def best_threshold(self, metrics: MetricCollection) -> float:
        """The threshold with the largest first metric, from metrics as above."""
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
