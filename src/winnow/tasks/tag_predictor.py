"""Predict the tags of the words of a sentence, as entities if the tags are those of entities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from winnow.data.batch import Arrays, Columns
from winnow.errors import UserError
from winnow.functional.entities import OUTSIDE, entities, is_entity_tag
from winnow.functional.probabilities import softmax
from winnow.tasks.predictor import SCORE_DIGITS, Predictor, Row, Tokenizer
from winnow.tasks.word_windows import IGNORED, cut, first_and_later_tokens, split_words, word_windows


class TagPredictor(Predictor):
    """One tag for each word of a sentence that is split into words.

    Args:
        max_length: tokens of a window; a longer sentence is cut into several windows.
        label_all_tokens: True: train on every token of a word; False: only on the first one, which is also the scored
            one.
        common: as in `Predictor`.
    """

    extra_padding: Mapping[str, int] = {"labels": IGNORED, "word": IGNORED}
    accepts_word_lists = True
    split_punctuation = True
    supports_top_k = False

    def __init__(self, *, max_length: int, label_all_tokens: bool, **common: Any) -> None:
        super().__init__(**common)
        if len(self.text_columns) != 1:
            raise UserError(f"task.data.text_columns must be one column of words, got {self.text_columns}.")
        self.max_length = max_length
        self.label_all_tokens = label_all_tokens

    def encode_inputs(self, rows: Sequence[Row], tokenizer: Tokenizer) -> Columns:
        sentences = [split_words(row["text"], self.split_punctuation)[0] for row in rows]
        encoded, sentence, words = word_windows(sentences, tokenizer, self._window_length(tokenizer))
        first, _ = first_and_later_tokens(words)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        words_before = np.cumsum([0, *map(len, sentences)])[sentence]
        word = np.where(first, words - np.repeat(words_before, lengths), IGNORED)  # index in the sentence
        return {**encoded, "word": cut(word, lengths), "example": list(sentence), "length": lengths}

    def window_predictions(self, outputs: Arrays, batch: Arrays) -> Arrays:
        logits = outputs["logits"]  # (batch, tokens, tags)
        return {"word": batch["word"], "tag": logits.argmax(axis=-1), "probability": softmax(logits).max(axis=-1)}

    def row_prediction(self, row: Row, windows: Sequence[Arrays], top_k: int | None) -> dict[str, Any]:
        """The entities, each with its characters in a text or its words in a list, and the mean score of its words.

        The tag and the score of a word are those of its first token.
        """
        words, places = split_words(row["text"], self.split_punctuation)
        tags, scores = self._word_tags(len(words), windows)

        def entity(kind: str, first: int, last: int) -> dict[str, Any]:
            start, end = places[first][0], places[last][1]
            score = sum(scores[first : last + 1]) / (last + 1 - first)
            return _entity(kind, row["text"][start:end], start, end, score)

        if self._tags_entities():
            return {"entities": [entity(*span) for span in entities(tags)]}
        return {"tags": [entity(tag, i, i) for i, tag in enumerate(tags)]}

    def example_prediction(self, top_k: int | None) -> dict[str, Any]:
        return {"entities" if self._tags_entities() else "tags": [_entity("person", "Ann", 0, 3, 1.0)]}

    def _tags_entities(self) -> bool:
        """Whether the tags are such as B-person, I-person and O; others name a kind of word."""
        return all(map(is_entity_tag, self.labels))

    def _word_tags(self, count: int, windows: Sequence[Arrays]) -> tuple[list[str], list[float]]:
        """The tag of each word of a sentence and its probability; O and 0 for a word without a token."""
        tags, scores = [OUTSIDE if OUTSIDE in self.labels else self.labels[0]] * count, [0.0] * count
        for window in windows:
            for i in np.flatnonzero(window["word"] != IGNORED):
                tags[window["word"][i]] = self.labels[window["tag"][i]]
                scores[window["word"][i]] = float(window["probability"][i])
        return tags, scores

    def _window_length(self, tokenizer: Tokenizer) -> int:
        """Tokens of a window, special tokens included."""
        if not tokenizer.is_fast:
            raise UserError(
                f"the tokenizer {type(tokenizer).__name__} does not report to which word a token belongs; choose a "
                "model with a fast tokenizer."
            )
        length: int = min(self.max_length, tokenizer.model_max_length)
        special = tokenizer.num_special_tokens_to_add()
        if length <= special:
            raise UserError(
                f"task.max_length={length} has no room for words beside {special} special tokens; set a larger one."
            )
        return length


def _entity(kind: str, text: str | Sequence[str], start: int, end: int, score: float) -> dict[str, Any]:
    """An entity as the user reads it."""
    text = text if isinstance(text, str) else " ".join(text)
    return {"type": kind, "text": text, "start": start, "end": end, "score": round(score, SCORE_DIGITS)}
