"""Predict the answers to questions: windows of a context, the best spans of each, the answer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.data.batch import Arrays, Columns
from winnow.errors import UserError
from winnow.functional.candidates import best_candidates, given_answer, probabilities
from winnow.functional.spans import best_spans
from winnow.tasks.answer_windows import answer_windows
from winnow.tasks.predictor import SCORE_DIGITS, Predictor, Row, Tokenizer


class AnswerPredictor(Predictor):
    """Find the part of a context that answers a question; long contexts are read in overlapping windows.

    Args:
        data: the ``task.data`` section; the names of the columns are read here.
        max_seq_length: tokens of a window, question included.
        doc_stride: tokens that two neighbouring windows share.
        max_question_length: tokens that a question is truncated to.
        max_answer_length: tokens of the longest answer.
        n_best: number of answers kept for each question.
        unanswerable: True: some questions have no answer (SQuAD v2).
        null_score_diff_threshold: the prediction is "no answer" if its score exceeds the best answer's by more.
        common: as in `Predictor`.
    """

    output_names: Sequence[str] = ("start_logits", "end_logits")
    extra_padding: Mapping[str, int] = {"first_char": -1, "last_char": -1}
    input_fields = ("question", "context")
    unrepeated_fields = ("context",)

    def __init__(
        self,
        *,
        data: Mapping[str, Any],
        max_seq_length: int,
        doc_stride: int,
        max_question_length: int,
        max_answer_length: int,
        n_best: int,
        unanswerable: bool,
        null_score_diff_threshold: float,
        **common: Any,
    ) -> None:
        super().__init__(data=data, **common)
        self.id_column: str | None = data["id_column"]
        self.answer_start_column: str | None = data["answer_start_column"]
        self._check_columns()
        self.max_length = max_seq_length
        self.doc_stride = doc_stride
        self.max_question_length = max_question_length
        self.max_answer_length = max_answer_length
        self.n_best = n_best
        self.unanswerable = unanswerable
        self.null_score_diff_threshold = null_score_diff_threshold

    def encode_inputs(self, rows: Sequence[Row], tokenizer: Tokenizer) -> Columns:
        texts = {field: [row[field] for row in rows] for field in self.input_fields}
        sizes = self._window_sizes(tokenizer)
        return answer_windows(texts, range(len(rows)), tokenizer=tokenizer, training=False, **sizes)

    def window_predictions(self, outputs: Arrays, batch: Arrays) -> Arrays:
        """The best spans of each window and its scores of "no answer", as `AnswerMetrics.update` takes them."""
        start, end = outputs["start_logits"], outputs["end_logits"]  # (windows, seq)
        in_context = batch["first_char"] >= 0
        first, last, scores = best_spans(start, end, in_context, max_length=self.max_answer_length, n_best=self.n_best)

        def logits(values: NDArray[Any], tokens: NDArray[Any]) -> NDArray[Any]:
            return np.where(scores == -np.inf, -np.inf, np.take_along_axis(values, tokens, axis=1))

        return {
            "example": batch["example"],
            "first_char": np.take_along_axis(batch["first_char"], first, axis=1),
            "last_char": np.take_along_axis(batch["last_char"], last, axis=1),
            "start_logit": logits(start, first),
            "end_logit": logits(end, last),
            "null_start": start[:, 0],
            "null_end": end[:, 0],
        }

    def row_prediction(self, row: Row, windows: Sequence[Arrays], top_k: int | None) -> dict[str, Any]:
        joined = {name: np.concatenate([np.atleast_1d(window[name]) for window in windows]) for name in windows[0]}
        candidates = best_candidates(row["context"], joined, n_best=self.n_best, unanswerable=self.unanswerable)
        return self.prediction(candidates, top_k)

    def prediction(self, candidates: list[dict[str, Any]], top_k: int | None) -> dict[str, Any]:
        """The answer as the user reads it, from the candidates, best first."""
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

    def _window_sizes(self, tokenizer: Tokenizer) -> dict[str, int]:
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
