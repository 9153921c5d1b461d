"""The half of a task that serves: texts to inputs of the model, its outputs to predictions. It imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from winnow.data.batch import Arrays, Columns
from winnow.values import ProperFraction, check_value

SCORE_DIGITS = 6  # decimal places of the scores in a prediction
THRESHOLD = "decision_threshold"  # a setting in the configuration of a saved model
EVEN = 0.5  # the threshold at which the larger of two probabilities decides

Row = Mapping[str, Any]


class Tokenizer(Protocol):
    """What a task needs of a tokenizer, of transformers or of `winnow.deployment.tokenizer`."""

    model_max_length: int

    @property
    def is_fast(self) -> bool: ...

    def __call__(self, *texts: Any, **options: Any) -> Any: ...

    def num_special_tokens_to_add(self, pair: bool = ...) -> int: ...


class Predictor:
    """Base class: a subclass tokenizes rows without labels, and makes predictions of what the model returns.

    Args:
        name: name of the task, for folders and tables.
        metrics: names of the metrics; the first one chooses the best model.
        data: the ``task.data`` section; the names of the columns are read here.
    """

    output_names: Sequence[str] = ("logits",)  # outputs of the deployed graph; empty: the task cannot be deployed
    max_length: int  # tokens of the longest input
    extra_padding: Mapping[str, int] = {}  # padding values of columns that are not inputs of the model
    input_fields: Sequence[str] = ("text",)  # names of the texts in a row to predict
    unrepeated_fields: Sequence[str] = ()  # those of them that the answer for a row leaves out
    accepts_word_lists = False  # True: a text may be a list of words
    split_punctuation = False  # True: prediction splits punctuation from the words of a text, not of a list
    supports_top_k = True  # False: a prediction has no ranking of labels or answers
    threshold = EVEN  # of the probability of a label, where two labels or several yes or no decisions are predicted

    def __init__(self, *, name: str, metrics: Sequence[str], data: Mapping[str, Any]) -> None:
        self.name = name
        self.metric_names = list(metrics)
        self.text_columns: list[str] = list(data["text_columns"])
        self.label_column: str = data["label_column"]
        self.labels: list[str] = []  # label names in the order of their ids

    def use_threshold(self, config: Mapping[str, Any]) -> None:
        """Decide by the threshold in the configuration of a saved model, if it has one."""
        if THRESHOLD in config:
            self.threshold = check_value(THRESHOLD, ProperFraction, config[THRESHOLD])

    def padding_values(self, tokenizer: Any) -> dict[str, int]:
        """The padding value of each column that has one value per token."""
        return {
            "input_ids": tokenizer.pad_token_id,
            "token_type_ids": tokenizer.pad_token_type_id,
            "attention_mask": 0,
            **self.extra_padding,
        }

    def encode_inputs(self, rows: Sequence[Row], tokenizer: Tokenizer) -> Columns:
        """Features of rows without labels, truncated and split into windows as for an evaluation.

        Args:
            rows: each has a text for each name in ``input_fields``.
            tokenizer: tokenizer of the model.

        Returns:
            Columns with one value for each window: inputs of the model, ``length`` in tokens, ``example`` (the index
            of the window's row), and what `window_predictions` needs.
        """
        raise NotImplementedError

    def window_predictions(self, outputs: Arrays, batch: Arrays) -> Arrays:
        """The few values of each window that `row_prediction` needs, ``(windows, ...)`` each.

        Args:
            outputs: of the model by name, float32, ``(windows, ...)``.
            batch: the padded columns of `encode_inputs`.
        """
        raise NotImplementedError

    def row_prediction(self, row: Row, windows: Sequence[Arrays], top_k: int | None) -> dict[str, Any]:
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
