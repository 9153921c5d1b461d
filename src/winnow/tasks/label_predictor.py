"""Predict one label, any number of labels, or one number, for each text or text pair."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from winnow.data.batch import Arrays, Columns
from winnow.errors import UserError
from winnow.functional.probabilities import sigmoid, softmax
from winnow.tasks.predictor import EVEN, SCORE_DIGITS, Predictor, Row, Tokenizer


class LabelPredictor(Predictor):
    """One label, any number of labels, or one number, for each text or text pair.

    Args:
        regression: True: labels are numbers.
        multi_label: True: a row has any number of labels.
        max_length: tokens a text is truncated to, or those of a window.
        long_texts: truncate, or windows: a longer text is read in overlapping windows, whose scores are joined.
        stride: tokens that two neighbouring windows share.
        class_weights: balanced, or the weights of some labels in the training loss, by name.
        label_smoothing: fraction of a target that the training loss spreads evenly, in [0, 1).
        threshold: a label is predicted if its probability is above it, of two labels that exclude one another the
            second; tuned: the configuration of the trained model has it.
        common: as in `Predictor`.
    """

    def __init__(
        self,
        *,
        regression: bool,
        multi_label: bool,
        max_length: int,
        long_texts: Literal["truncate", "windows"],
        stride: int,
        class_weights: Literal["balanced"] | Mapping[str, float] | None,
        label_smoothing: float,
        threshold: Literal["tuned"] | float,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if len(self.text_columns) not in (1, 2):
            raise UserError(f"task.data.text_columns must be one column or two, got {self.text_columns}.")
        self.regression = regression
        self.multi_label = multi_label
        self.max_length = max_length
        self.stride = stride if long_texts == "windows" else None
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.threshold = EVEN if isinstance(threshold, str) else threshold
        self.input_fields = ("text", "text_pair")[: len(self.text_columns)]
        self.supports_top_k = not regression

    def encode_inputs(self, rows: Sequence[Row], tokenizer: Tokenizer) -> Columns:
        columns = [[row[field] for row in rows] for field in self.input_fields]
        return text_windows(columns, tokenizer, **self._window_sizes(tokenizer))

    def window_predictions(self, outputs: Arrays, batch: Arrays) -> Arrays:
        logits = outputs["logits"]  # (batch, outputs)
        scores = logits if self.regression else sigmoid(logits) if self.multi_label else softmax(logits)
        return {"example": batch["example"], "score": scores, "truncated": batch["truncated"]}

    def row_prediction(self, row: Row, windows: Sequence[Arrays], top_k: int | None) -> dict[str, Any]:
        (scores,) = self.joined(np.stack([window["score"] for window in windows]), np.array([0]))
        return {**self.prediction(scores, top_k), **({"truncated": True} if windows[0]["truncated"] else {})}

    def example_prediction(self, top_k: int | None) -> dict[str, Any]:
        count = len(self.labels)
        scores = np.ones(max(count, 1))  # a regression has one score and no labels
        return {**self.prediction(scores, top_k and count), "truncated": False}

    def joined(self, scores: NDArray[Any], begins: NDArray[np.int64]) -> NDArray[Any]:
        """The scores of texts, ``(texts, outputs)``: means over their windows.

        Where a text has several labels, maxima: a label applies to a text if it applies to a part of it.

        Args:
            scores: ``(windows, outputs)``, text by text.
            begins: index of the first window of each text.
        """
        if self.multi_label:
            return np.maximum.reduceat(scores, begins)
        counts = np.diff(begins, append=len(scores)).astype(scores.dtype)
        means: NDArray[Any] = np.add.reduceat(scores, begins) / counts[:, None]
        return means

    def decided(self, scores: NDArray[Any], threshold: float) -> NDArray[Any]:
        """The predictions in the form of the targets: ids of labels, a 0 or 1 for each label, or numbers.

        Args:
            scores: ``(texts, outputs)``.
            threshold: as in the constructor.
        """
        if self.regression:
            return scores[:, 0]
        if self.multi_label:
            return (scores > threshold).astype(np.int64)
        return scores.argmax(axis=1) if threshold == EVEN else (scores[:, 1] > threshold).astype(np.int64)

    def prediction(self, scores: NDArray[Any], top_k: int | None) -> dict[str, Any]:
        """The prediction for one text from its scores, ``(outputs,)``; ``top_k`` also lists that many of the best."""
        (decided,) = self.decided(scores[None], self.threshold)
        if self.regression:
            return {"value": round(float(decided), SCORE_DIGITS)}
        rounded = [round(score, SCORE_DIGITS) for score in scores.tolist()]
        ranking = np.argsort(-scores, kind="stable")
        best = {"scores": {self.labels[i]: rounded[i] for i in ranking[:top_k]}} if top_k else {}
        if self.multi_label:
            return {"labels": [{"label": self.labels[i], "score": rounded[i]} for i in ranking if decided[i]], **best}
        return {"label": self.labels[decided], "score": rounded[decided], **best}

    def _window_sizes(self, tokenizer: Tokenizer) -> dict[str, Any]:
        """The sizes that `text_windows` needs, in tokens."""
        max_length = min(self.max_length, tokenizer.model_max_length)
        room = max_length - tokenizer.num_special_tokens_to_add()
        if self.stride is not None and self.stride >= room:
            raise UserError(
                f"task.stride={self.stride} must be below {room}, the tokens that a window has beside special ones; "
                "lower it, or raise task.max_length."
            )
        if self.stride is not None and not tokenizer.is_fast:
            raise UserError(
                f"task.long_texts=windows: the tokenizer {type(tokenizer).__name__} makes no windows; choose a model "
                "with a fast tokenizer, or set task.long_texts=truncate."
            )
        return {"max_length": max_length, "stride": self.stride}


def text_windows(
    columns: Sequence[Sequence[str]], tokenizer: Tokenizer, *, max_length: int, stride: int | None
) -> dict[str, Any]:
    """Features of texts, or of pairs for two columns; the longer text of a pair is truncated first.

    Args:
        columns: one list of texts, or two.
        tokenizer: of the model.
        max_length: tokens of a window, special ones included.
        stride: tokens that neighbouring windows share; None: one window for each text.

    Returns:
        The columns that `LabelPredictor.encode_inputs` returns.
    """
    if stride is None:
        encoded = tokenizer(*columns, truncation=True, max_length=max_length)
        texts, truncated = range(len(columns[0])), _was_truncated(encoded)
    else:
        options = {"stride": stride, "return_overflowing_tokens": True}
        encoded = tokenizer(*columns, truncation=True, max_length=max_length, **options)
        texts = encoded.pop("overflow_to_sample_mapping")
        truncated = [False] * len(texts)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    return {**encoded, "length": lengths, "example": texts, "truncated": truncated}


def _was_truncated(encoded: Any) -> list[bool]:
    """True for each text that was truncated; only tokenizers of the tokenizers library report it."""
    return [bool(encoding.overflowing) for encoding in encoded.encodings or ()] or [False] * len(encoded["input_ids"])
