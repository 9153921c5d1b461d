"""Find the answer to a question in a text: SQuAD v1.1 and v2, a user's own files."""

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict, concatenate_datasets
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from transformers import AutoModelForQuestionAnswering, PreTrainedTokenizerBase

from winnow.data.batch import Batch, ModelOutputs
from winnow.data.cached_map import cached_map
from winnow.data.empty_rows import without_empty_rows
from winnow.data.places import PLACE, place_of
from winnow.data.text_column import text_column
from winnow.functional.distillation_loss import distillation_loss
from winnow.tasks.answer_columns import check_answers, with_answer_lists
from winnow.tasks.answer_metrics import AnswerMetrics
from winnow.tasks.answer_predictor import AnswerPredictor
from winnow.tasks.answer_windows import answer_windows
from winnow.tasks.metrics import only_metric
from winnow.tasks.question_ids import ID, with_ids
from winnow.tasks.task import Task, check_metric_names

_V1_METRICS = ("exact_match", "f1")
_V2_METRICS = ("exact_match_has_answer", "f1_has_answer", "exact_match_no_answer", "f1_no_answer")
_ROWS_PER_PROCESS = 20_000
_IMPOSSIBLE = -1e4  # softmax turns this logit into 0; unlike -inf, its difference to itself is 0


class QuestionAnswering(AnswerPredictor, Task):
    """Find the part of a context that answers a question; long contexts are read in overlapping windows.

    Args:
        settings: as in `AnswerPredictor`.
    """

    auto_model = AutoModelForQuestionAnswering
    outputs_per_token = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        known = _V1_METRICS + (_V2_METRICS if self.unanswerable else ())
        check_metric_names(self.metric_names, known, f"task={self.name}")
        self.drop_empty: bool = settings["data"]["drop_empty"]

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        splits = self.labelled_splits(splits)
        # without a validation split, rows of the training split are scored
        scored = set(splits) - {"train"} if set(splits) - {"train", "test"} else set(splits)
        return DatasetDict({name: self._prepared(split, name, name in scored) for name, split in splits.items()})

    def head_settings(self) -> dict[str, Any]:
        return {"num_labels": 2}  # start and end

    def encode(self, split: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool) -> Dataset:
        return cached_map(
            split,
            answer_windows,
            batched=True,
            batch_size=200,
            with_indices=True,
            remove_columns=split.column_names,
            num_proc=_processes(len(split)),
            fn_kwargs={"tokenizer": tokenizer, "training": training, **self._window_sizes(tokenizer)},
        )

    def loss(self, outputs: ModelOutputs, batch: Batch) -> Tensor:
        start = F.cross_entropy(_mask_padding(outputs.start_logits, batch), batch["start_positions"])
        return (start + F.cross_entropy(_mask_padding(outputs.end_logits, batch), batch["end_positions"])) / 2

    def distillation_loss(
        self, student: ModelOutputs, teacher: ModelOutputs, batch: Batch, *, temperature: float
    ) -> Tensor:
        pairs = [(student.start_logits, teacher.start_logits), (student.end_logits, teacher.end_logits)]
        losses = [
            distillation_loss(_mask_padding(mine, batch), _mask_padding(theirs, batch), temperature=temperature)
            for mine, theirs in pairs
        ]
        return torch.stack(losses).mean()

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        metrics = AnswerMetrics(
            split,
            names=self.metric_names,
            n_best=self.n_best,
            unanswerable=self.unanswerable,
            null_score_diff_threshold=self.null_score_diff_threshold,
        )
        return {"answers": metrics}

    def prediction_files(self, metrics: MetricCollection) -> dict[str, Any]:
        return only_metric(metrics, AnswerMetrics).prediction_files()

    def predictions(self, metrics: MetricCollection) -> Iterator[dict[str, Any]]:
        for row, candidates in only_metric(metrics, AnswerMetrics).candidates():
            question = {name: row[name] for name in ("id", "question")}
            yield {**question, **self.prediction(candidates, None), "true_answers": row["answers"]["text"]}

    def _prepared(self, split: Dataset, name: str, scored: bool) -> Dataset:
        """The columns id, question, context and answers, with every row checked."""
        question, context = self.text_columns
        split = with_answer_lists(split, self.label_column, self.answer_start_column, partial(place_of, split, name))
        split = with_ids(split, name, self.id_column, scored=scored)
        split = without_empty_rows(split, name, {question: True, context: True}, drop=self.drop_empty)
        places = [PLACE] if PLACE in split.column_names else []
        others = split.select_columns([ID, self.label_column, *places])
        parts = [
            others.rename_columns({ID: "id", self.label_column: "answers"}),
            text_column(split, question, "question", name),
            text_column(split, context, "context", name),
        ]
        split = concatenate_datasets(parts, axis=1)
        check_answers(split, name, unanswerable=self.unanswerable)
        return split.remove_columns(places)


def _processes(rows: int) -> int | None:
    """Number of processes to tokenize with; None where starting them would take longer than the work.

    One process is slow because the position of each token becomes a Python object.
    """
    count = min(os.cpu_count() or 1, rows // _ROWS_PER_PROCESS, 4)
    if count < 2:
        return None
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else each forked process prints a warning
    return count


def _mask_padding(logits: Tensor, batch: Batch) -> Tensor:
    """Logits in float32 that exclude padding from the answer, so that the width of the batch has no effect."""
    return logits.float().masked_fill(batch["attention_mask"] == 0, _IMPOSSIBLE)
