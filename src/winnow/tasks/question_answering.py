"""Find the answer to a question in a text: SQuAD v1.1 and v2, a user's own files."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict, List, Value
from torch import Tensor
from torchmetrics import Metric
from transformers import AutoModelForQuestionAnswering

from winnow.data.cached_map import cached_map
from winnow.data.empty_rows import without_empty_rows
from winnow.errors import UserError
from winnow.functional.candidates import best_candidates, given_answer, probabilities
from winnow.functional.distillation_loss import distillation_loss
from winnow.functional.spans import best_spans
from winnow.tasks.answer_metrics import AnswerMetrics
from winnow.tasks.task import DIGITS, Task, check_metric_names

_V1_METRICS = ("exact_match", "f1")
_V2_METRICS = ("exact_match_has_answer", "f1_has_answer", "exact_match_no_answer", "f1_no_answer")
_ROWS_PER_PROCESS = 20_000
_IMPOSSIBLE = -1e4  # a score that softmax turns into 0, and whose difference to itself is 0


class QuestionAnswering(Task):
    """The words of a context that answer a question; long contexts are read in windows that overlap.

    Args:
        name: of the task, for folders and tables.
        metrics: names of the metrics; the first chooses the best model.
        data: the ``task.data`` section; the columns are read here.
        max_seq_length: tokens of a window, question included.
        doc_stride: tokens that a window shares with the next.
        max_question_length: tokens that a question is cut to.
        max_answer_length: tokens of the longest answer.
        n_best: answers kept for each question.
        unanswerable: some questions have no answer (SQuAD v2).
        null_score_diff_threshold: no answer is given where the score of none exceeds the best answer's by more.
    """

    auto_model = AutoModelForQuestionAnswering
    output_names: Sequence[str] = ("start_logits", "end_logits")
    outputs_per_token = True
    padding: Mapping[str, int] = {"first_char": -1, "last_char": -1}
    asked = ("question", "context")

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
        self.drop_empty: bool = data["drop_empty"]
        self.max_length = max_seq_length
        self.doc_stride = doc_stride
        self.max_question_length = max_question_length
        self.max_answer_length = max_answer_length
        self.n_best = n_best
        self.unanswerable = unanswerable
        self.null_score_diff_threshold = null_score_diff_threshold

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        labelled = {name: s for name, s in splits.items() if name != "test" or self.label_column in s.column_names}
        return DatasetDict({name: self._checked(split, name) for name, split in labelled.items()})

    def head_settings(self) -> dict[str, Any]:
        return {"num_labels": 2}  # a start and an end

    def encode(self, split: Dataset, tokenizer: Any, *, training: bool) -> Dataset:
        return cached_map(
            split,
            windows,
            batched=True,
            batch_size=200,
            with_indices=True,
            remove_columns=split.column_names,
            num_proc=_processes(len(split)),
            fn_kwargs={"tokenizer": tokenizer, "training": training, **self._limits(tokenizer)},
        )

    def _limits(self, tokenizer: Any) -> dict[str, int]:
        """Of the windows, in tokens."""
        window = min(self.max_length, tokenizer.model_max_length)
        room = window - self.max_question_length - tokenizer.num_special_tokens_to_add(pair=True)
        if self.doc_stride >= room:
            raise UserError(
                f"task.doc_stride={self.doc_stride} is too much: a window of {window} tokens has {max(room, 0)} for "
                f"the context beside a question of {self.max_question_length}; lower task.doc_stride or "
                "task.max_question_length, or raise task.max_seq_length."
            )
        return {"window": window, "doc_stride": self.doc_stride, "max_question_length": self.max_question_length}

    def loss(self, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        start = F.cross_entropy(_over_tokens(outputs.start_logits, batch), batch["start_positions"])
        return (start + F.cross_entropy(_over_tokens(outputs.end_logits, batch), batch["end_positions"])) / 2

    def distillation_loss(
        self, student: Any, teacher: Any, batch: Mapping[str, Tensor], *, temperature: float
    ) -> Tensor:
        pairs = [(student.start_logits, teacher.start_logits), (student.end_logits, teacher.end_logits)]
        losses = [
            distillation_loss(_over_tokens(mine, batch), _over_tokens(theirs, batch), temperature=temperature)
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

    def update_metrics(self, metrics: Any, outputs: Any, batch: Mapping[str, Tensor]) -> None:
        metrics.update(**self.readings(outputs, batch))

    def readings(self, outputs: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The best spans of each window, and its scores of no answer, as `AnswerMetrics.update` takes them."""
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

    def questions(self, rows: Sequence[Mapping[str, Any]], tokenizer: Any) -> Mapping[str, Sequence]:
        texts = {name: [row[name] for row in rows] for name in self.asked}
        limits = self._limits(tokenizer)
        return windows(texts, range(len(rows)), tokenizer=tokenizer, training=False, **limits)

    def answer(
        self, row: Mapping[str, Any], windows: Sequence[Mapping[str, np.ndarray]], top_k: int | None
    ) -> dict[str, Any]:
        joined = {name: np.concatenate([np.atleast_1d(window[name]) for window in windows]) for name in windows[0]}
        candidates = best_candidates(row["context"], joined, n_best=self.n_best, unanswerable=self.unanswerable)
        given = given_answer(candidates, self.null_score_diff_threshold if self.unanswerable else None)
        said = [_said(c, p) for c, p in zip(candidates, probabilities(candidates), strict=True)]
        best = next((each for each, c in zip(said, candidates, strict=True) if c is given), _said(None, 0.0))
        told = {name: value for name, value in row.items() if name != "context"}
        return {**told, **best, **({"answers": said[:top_k]} if top_k else {})}

    def predictions(self, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        return metrics["answers"].predictions()

    def _checked(self, split: Dataset, name: str) -> Dataset:
        """The columns id, question, context and answers, after a look at every row."""
        question, context = self.text_columns
        columns = {question: "question", context: "context", self.label_column: "answers"}
        if self.id_column is not None:
            columns[self.id_column] = "id"
        split = self._with_answer_lists(split).select_columns(list(columns)).rename_columns(columns)
        if self.id_column is None:
            split = split.add_column("id", [str(row) for row in range(len(split))])
        split = without_empty_rows(split, name, {"question": True, "context": True}, drop=self.drop_empty)
        row = 0
        for rows in split.select_columns(["context", "answers"]).iter(1000):
            for context, answers in zip(rows["context"], rows["answers"], strict=True):
                row += 1
                self._check_answers(context, answers, f"the {name} split, row {row}")
        return split

    def _with_answer_lists(self, split: Dataset) -> Dataset:
        """Answers as {"text": [...], "answer_start": [...]}, from the other forms in which files have them."""
        column, start_column = self.label_column, self.answer_start_column
        answers = split.features[column]
        if isinstance(answers, dict) and {"text", "answer_start"} <= answers.keys():
            return split
        if isinstance(answers, List) and isinstance(answers.feature, dict):
            names = ("text", "answer_start")
            return cached_map(split, lambda row: {column: {name: [a[name] for a in row[column]] for name in names}})
        if start_column is not None and isinstance(answers, Value):
            return cached_map(split, lambda row: {column: _answer_list(row[column], row[start_column])})
        raise UserError(
            f"task.data.label_column: '{column}' must hold answers as "
            '{"text": ["the words"], "answer_start": [the place of their first character]}; '
            "where it holds the words alone, name the column of their places with "
            "task.data.answer_start_column=COLUMN."
        )

    def _check_answers(self, context: str, answers: Mapping[str, list], where: str) -> None:
        if not answers["text"] and not self.unanswerable:
            raise UserError(
                f"{where}: the question has no answer; for data like those of SQuAD v2 say task=squad_v2 or "
                "task.unanswerable=true."
            )
        if len(answers["text"]) != len(answers["answer_start"]):
            raise UserError(
                f"{where}: there are {len(answers['text'])} answers and {len(answers['answer_start'])} places of "
                "their first characters; correct the row or leave it out."
            )
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            found = context[start : start + len(text)]
            if found != text:
                raise UserError(
                    f"{where}: answer_start {start} does not fit: the context has '{found}' there, not '{text}'; "
                    "correct the row or leave it out."
                )


def _answer_list(text: str | None, start: Any) -> dict[str, list]:
    return {"text": [text], "answer_start": [int(start)]} if text else {"text": [], "answer_start": []}


def windows(
    rows: Mapping[str, list],
    indices: Sequence[int],
    *,
    tokenizer: Any,
    training: bool,
    window: int,
    doc_stride: int,
    max_question_length: int,
) -> dict[str, list]:
    """Questions with a part of their context each, as many as the context needs.

    Returns:
        The model's inputs and ``length``; for training ``start_positions`` and ``end_positions``, the first and last
        token of the answer, 0 where the window does not hold it whole; else ``example``, the row of the question, and
        for each token ``first_char`` and ``last_char`` (exclusive) in the context, -1 outside it.
    """
    encoded = tokenizer(
        cut_questions(rows["question"], tokenizer, max_question_length),
        rows["context"],
        truncation="only_second",
        max_length=window,
        stride=doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    examples, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
    columns: dict[str, list] = {**encoded, "length": [len(ids) for ids in encoded["input_ids"]]}
    chars = []  # for each window (seq, 2)
    for i, pairs in enumerate(offsets):
        in_context = np.array([sequence == 1 for sequence in encoded.sequence_ids(i)])
        chars.append(np.where(in_context[:, None], np.array(pairs), -1))
    if training:
        answers = [rows["answers"][example] for example in examples]
        positions = [answer_tokens(pairs, answer) for pairs, answer in zip(chars, answers, strict=True)]
        columns["start_positions"], columns["end_positions"] = map(list, zip(*positions, strict=True))
    else:
        columns["example"] = [indices[example] for example in examples]
        columns["first_char"], columns["last_char"] = [c[:, 0] for c in chars], [c[:, 1] for c in chars]
    return columns


def answer_tokens(chars: np.ndarray, answers: Mapping[str, list]) -> tuple[int, int]:
    """First and last token of the first answer; (0, 0) if there is none or the window does not hold it whole.

    Args:
        chars: place of each token in the context, first character and end, -1 outside it; ``(seq, 2)``.
        answers: ``text`` and ``answer_start``, lists of equal length.
    """
    if not answers["text"]:
        return 0, 0
    first, last = answers["answer_start"][0], answers["answer_start"][0] + len(answers["text"][0])
    inside = np.flatnonzero(chars[:, 0] >= 0)
    if first < chars[inside[0], 0] or last > chars[inside[-1], 1]:
        return 0, 0
    touched = inside[(chars[inside, 0] < last) & (chars[inside, 1] > first)]
    return (int(touched[0]), int(touched[-1])) if len(touched) else (0, 0)


def cut_questions(questions: list[str], tokenizer: Any, limit: int) -> list[str]:
    """Questions without what is beyond so many tokens."""
    offsets = tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return [
        text[: pairs[limit - 1][1]] if len(pairs) > limit else text
        for text, pairs in zip(questions, offsets, strict=True)
    ]


def _said(candidate: Mapping[str, Any] | None, probability: float) -> dict[str, Any]:
    """An answer as a user reads it; one without words stands nowhere."""
    text = candidate["text"] if candidate else ""
    start, end = (candidate["start"], candidate["end"]) if candidate and text else (None, None)
    return {"answer": text, "score": round(probability, DIGITS), "start": start, "end": end}


def _processes(rows: int) -> int | None:
    """Processes that are worth their start, or None; the places of tokens are turned into Python objects one by one."""
    count = min(os.cpu_count() or 1, rows // _ROWS_PER_PROCESS, 4)
    if count < 2:
        return None
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else each process warns that it was forked
    return count


def _over_tokens(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Scores over the tokens of a window; padding cannot be an answer, whatever the longest text of the batch."""
    return logits.float().masked_fill(batch["attention_mask"] == 0, _IMPOSSIBLE)
