"""Find the answer to a question in a text: SQuAD v1.1 and v2, a user's own files."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict, concatenate_datasets
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from transformers import AutoModelForQuestionAnswering, PreTrainedTokenizerBase

from winnow.data.batch import Batch, Columns, ModelOutputs
from winnow.data.cached_map import cached_map
from winnow.data.empty_rows import without_empty_rows
from winnow.data.places import PLACE, place_of
from winnow.data.text_column import text_column
from winnow.errors import UserError
from winnow.functional.candidates import best_candidates, given_answer, probabilities
from winnow.functional.distillation_loss import distillation_loss
from winnow.functional.spans import best_spans
from winnow.tasks.answer_columns import check_answers, with_answer_lists
from winnow.tasks.answer_metrics import AnswerMetrics
from winnow.tasks.answer_windows import answer_windows
from winnow.tasks.question_ids import ID, with_ids
from winnow.tasks.task import SCORE_DIGITS, Row, Task, WindowPrediction, check_metric_names

_V1_METRICS = ("exact_match", "f1")
_V2_METRICS = ("exact_match_has_answer", "f1_has_answer", "exact_match_no_answer", "f1_no_answer")
_ROWS_PER_PROCESS = 20_000
_IMPOSSIBLE = -1e4  # softmax turns this logit into 0; unlike -inf, its difference to itself is 0


class QuestionAnswering(Task):
    """Find the part of a context that answers a question; long contexts are read in overlapping windows.

    Args:
        name: name of the task, for folders and tables.
        metrics: names of the metrics; the first one chooses the best model.
        data: the ``task.data`` section; the names of the columns are read here.
        max_seq_length: tokens of a window, question included.
        doc_stride: tokens that two neighbouring windows share.
        max_question_length: tokens that a question is truncated to.
        max_answer_length: tokens of the longest answer.
        n_best: number of answers kept for each question.
        unanswerable: True: some questions have no answer (SQuAD v2).
        null_score_diff_threshold: the prediction is "no answer" if its score exceeds the best answer's by more.
    """

    auto_model = AutoModelForQuestionAnswering
    output_names: Sequence[str] = ("start_logits", "end_logits")
    outputs_per_token = True
    extra_padding: Mapping[str, int] = {"first_char": -1, "last_char": -1}
    input_fields = ("question", "context")
    unrepeated_fields = ("context",)

    def __init__(
        self,
        *,
        name: str,
        metrics: Sequence[str],
        data: Mapping[str, Any],
        max_seq_length: int,
        doc_stride: int,
        max_question_length: int,
        max_answer_length: int,
        n_best: int,
        unanswerable: bool,
        null_score_diff_threshold: float,
    ) -> None:
        super().__init__(name=name, metrics=metrics, data=data)
        check_metric_names(metrics, _V1_METRICS + (_V2_METRICS if unanswerable else ()), f"task={name}")
        self.id_column: str | None = data["id_column"]
        self.answer_start_column: str | None = data["answer_start_column"]
        self._check_columns()
        self.drop_empty: bool = data["drop_empty"]
        self.max_length = max_seq_length
        self.doc_stride = doc_stride
        self.max_question_length = max_question_length
        self.max_answer_length = max_answer_length
        self.n_best = n_best
        self.unanswerable = unanswerable
        self.null_score_diff_threshold = null_score_diff_threshold

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

    def update_metrics(self, metrics: MetricCollection, outputs: ModelOutputs, batch: Batch) -> None:
        metrics.update(**self.window_predictions(outputs, batch))

    def prediction_files(self, metrics: MetricCollection) -> dict[str, Any]:
        answers = metrics["answers"]
        assert isinstance(answers, AnswerMetrics)
        return answers.prediction_files()

    def encode_inputs(self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> Columns:
        texts = {field: [row[field] for row in rows] for field in self.input_fields}
        sizes = self._window_sizes(tokenizer)
        return answer_windows(texts, range(len(rows)), tokenizer=tokenizer, training=False, **sizes)

    def window_predictions(self, outputs: ModelOutputs, batch: Batch) -> dict[str, Tensor]:
        """The best spans of each window and its scores of "no answer", as `AnswerMetrics.update` takes them."""
        start, end = outputs.start_logits.float(), outputs.end_logits.float()  # (windows, seq)
        in_context = batch["first_char"] >= 0
        first, last, scores = best_spans(start, end, in_context, max_length=self.max_answer_length, n_best=self.n_best)
        missing = scores == -torch.inf
        return {
            "example": batch["example"],
            "first_char": batch["first_char"].gather(1, first),
            "last_char": batch["last_char"].gather(1, last),
            "start_logit": start.gather(1, first).masked_fill(missing, -torch.inf),
            "end_logit": end.gather(1, last).masked_fill(missing, -torch.inf),
            "null_start": start[:, 0],
            "null_end": end[:, 0],
        }

    def row_prediction(self, row: Row, windows: Sequence[WindowPrediction], top_k: int | None) -> dict[str, Any]:
        joined = {name: np.concatenate([np.atleast_1d(window[name]) for window in windows]) for name in windows[0]}
        candidates = best_candidates(row["context"], joined, n_best=self.n_best, unanswerable=self.unanswerable)
        given = given_answer(candidates, self.null_score_diff_threshold if self.unanswerable else None)
        answers = [_answer(c, p) for c, p in zip(candidates, probabilities(candidates), strict=True)]
        best = next((a for a, c in zip(answers, candidates, strict=True) if c is given), _answer(None, 0.0))
        return {**best, **({"answers": answers[:top_k]} if top_k else {})}

    def example_prediction(self, top_k: int | None) -> dict[str, Any]:
        answer = _answer({"text": "yes", "start": 0, "end": 3}, 1.0)
        return {**answer, **({"answers": [answer]} if top_k else {})}

    def _check_columns(self) -> None:
        """Refuse settings that name other than two texts, or one column twice."""
        if len(self.text_columns) != 2:
            raise UserError(
                "task.data.text_columns must be two columns, the questions and their contexts, got "
                f"[{', '.join(self.text_columns)}]."
            )
        columns = [*self.text_columns, self.label_column, self.answer_start_column, self.id_column]
        repeated = next((c for c in columns if c is not None and columns.count(c) > 1), None)
        if repeated is not None:
            raise UserError(
                f"column '{repeated}' is named twice among task.data.text_columns, label_column, answer_start_column "
                "and id_column; name another column for one of them."
            )

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

    def _window_sizes(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
        """The sizes that `answer_windows` needs, in tokens."""
        window = min(self.max_length, tokenizer.model_max_length)
        room = window - self.max_question_length - tokenizer.num_special_tokens_to_add(pair=True)
        if self.doc_stride >= room:
            raise UserError(
                f"task.doc_stride={self.doc_stride} is too large: a window of {window} tokens has {max(room, 0)} for "
                f"the context beside a question of {self.max_question_length}; lower task.doc_stride or "
                "task.max_question_length, or raise task.max_seq_length."
            )
        return {"window": window, "doc_stride": self.doc_stride, "max_question_length": self.max_question_length}


def _answer(candidate: Mapping[str, Any] | None, probability: float) -> dict[str, Any]:
    """An answer as the user reads it; "no answer" has an empty text and no position."""
    text = candidate["text"] if candidate else ""
    start, end = (candidate["start"], candidate["end"]) if candidate and text else (None, None)
    return {"answer": text, "score": round(probability, SCORE_DIGITS), "start": start, "end": end}


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
