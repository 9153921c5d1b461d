"""Predict one label, any number of labels, or one number, for each text or text pair."""

from collections.abc import Sequence
from typing import Any

from winnow.data.batch import Arrays, Columns
from winnow.errors import UserError
from winnow.functional.probabilities import sigmoid, softmax
from winnow.tasks.predictor import SCORE_DIGITS, Predictor, Row, Tokenizer


class LabelPredictor(Predictor):
    """One label, any number of labels, or one number, for each text or text pair.

    Args:
        regression: True: labels are numbers.
        multi_label: True: a row has any number of labels.
        max_length: tokens a text is truncated to.
        common: as in `Predictor`.
    """

    def __init__(self, *, regression: bool, multi_label: bool, max_length: int, **common: Any) -> None:
        super().__init__(**common)
        if len(self.text_columns) not in (1, 2):
            raise UserError(f"task.data.text_columns must be one column or two, got {self.text_columns}.")
        self.regression = regression
        self.multi_label = multi_label
        self.max_length = max_length
        self.input_fields = ("text", "text_pair")[: len(self.text_columns)]
        self.supports_top_k = not regression

    def encode_inputs(self, rows: Sequence[Row], tokenizer: Tokenizer) -> Columns:
        max_length = min(self.max_length, tokenizer.model_max_length)
        encoded = tokenized([[row[field] for row in rows] for field in self.input_fields], tokenizer, max_length)
        return {
            **encoded,
            "length": [len(ids) for ids in encoded["input_ids"]],
            "example": range(len(rows)),
            "truncated": _was_truncated(encoded),
        }

    def window_predictions(self, outputs: Arrays, batch: Arrays) -> Arrays:
        logits = outputs["logits"]  # (batch, outputs)
        scores = logits if self.regression else sigmoid(logits) if self.multi_label else softmax(logits)
        return {"score": scores, "truncated": batch["truncated"]}

    def row_prediction(self, row: Row, windows: Sequence[Arrays], top_k: int | None) -> dict[str, Any]:
        (window,) = windows
        prediction = self._prediction(window["score"].tolist(), top_k)
        return {**prediction, **({"truncated": True} if window["truncated"] else {})}

    def example_prediction(self, top_k: int | None) -> dict[str, Any]:
        count = len(self.labels)
        scores = [1.0] * max(count, 1)  # a regression has one score and no labels
        return {**self._prediction(scores, top_k and count), "truncated": False}

    def _prediction(self, scores: Sequence[float], top_k: int | None) -> dict[str, Any]:
        """The prediction for one text from the scores of all labels."""
        if self.regression:
            (number,) = scores
            return {"value": round(number, SCORE_DIGITS)}
        ranking = sorted(zip(self.labels, scores, strict=True), key=lambda pair: -pair[1])  # stable
        best = {"scores": {name: round(score, SCORE_DIGITS) for name, score in ranking[:top_k]}} if top_k else {}
        if self.multi_label:
            return {"labels": [_label(*pair) for pair in ranking if pair[1] > 0.5], **best}
        return {**_label(*ranking[0]), **best}


def tokenized(columns: Sequence[Sequence[str]], tokenizer: Tokenizer, max_length: int) -> Any:
    """Tokens of texts, or of pairs for two columns; the longer text of a pair is truncated first."""
    return tokenizer(*columns, truncation=True, max_length=max_length)


def _was_truncated(encoded: Any) -> list[bool]:
    """True for each text that was truncated; only tokenizers of the tokenizers library report it."""
    return [bool(encoding.overflowing) for encoding in encoded.encodings or ()] or [False] * len(encoded["input_ids"])


def _label(name: str, score: float) -> dict[str, Any]:
    return {"label": name, "score": round(score, SCORE_DIGITS)}
