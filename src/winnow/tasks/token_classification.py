"""Tag every word of a sentence: named entities, chunks, parts of speech; CoNLL files, JSON lines, hub data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerBase

from winnow.config.task import UNLABELED
from winnow.data.batch import Batch, Columns, ModelOutputs
from winnow.data.cached_map import cached_map
from winnow.data.flat_lists import flat_lists
from winnow.data.unlabeled import LABELLED
from winnow.errors import UserError
from winnow.functional.distillation_loss import distillation_loss
from winnow.functional.entities import OUTSIDE, entities, is_entity_tag, split_tag
from winnow.tasks.tag_columns import IGNORED, WORDS, TagColumns, check_tag_set, tag_set
from winnow.tasks.tag_scores import TagScores
from winnow.tasks.task import SCORE_DIGITS, Row, Task, WindowPrediction, check_metric_names, label_settings
from winnow.tasks.word_windows import first_and_later_tokens, split_words, word_windows

_METRICS = ("f1", "precision", "recall", "accuracy")  # the accuracy counts words, the others count entities


class TokenClassification(Task):
    """One tag for each word of a sentence that is split into words.

    Args:
        name: name of the task, for folders and tables.
        metrics: names of the metrics; the first one chooses the best model.
        max_length: tokens of a window; a longer sentence is cut into several windows.
        label_all_tokens: True: train on every token of a word; False: only on the first one, which is also the scored
            one.
        data: the ``task.data`` section; the names of the word and tag columns are read here.
    """

    auto_model = AutoModelForTokenClassification
    outputs_per_token = True
    extra_padding: Mapping[str, int] = {"labels": IGNORED, "word": IGNORED}
    accepts_word_lists = True
    supports_top_k = False
    tokenizer_options: Mapping[str, Any] = {"add_prefix_space": True}  # RoBERTa: each word follows a blank

    def __init__(
        self, *, name: str, metrics: Sequence[str], max_length: int, label_all_tokens: bool, data: Mapping[str, Any]
    ) -> None:
        super().__init__(name=name, metrics=metrics, data=data)
        check_metric_names(metrics, _METRICS, "a token classification")
        if len(self.text_columns) != 1:
            raise UserError(f"task.data.text_columns must be one column of words, got {self.text_columns}.")
        self.columns = TagColumns(self.text_columns[0], self.label_column, data["drop_empty"])
        self.max_length = max_length
        self.label_all_tokens = label_all_tokens

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        unlabeled = splits.get(UNLABELED)
        read = {name: self.columns.read(split, name) for name, split in splits.items() if name != UNLABELED}
        splits = self.labelled_splits(DatasetDict(read))
        found = {name: self.columns.occurrences(split, name) for name, split in splits.items()}
        self.labels = tag_set(splits["train"].features[self.label_column], found)
        check_tag_set(self.labels, splits, found, self.label_column, self.metric_names)
        prepared = DatasetDict({name: self.columns.with_tag_ids(split, self.labels) for name, split in splits.items()})
        if unlabeled is not None:
            prepared[UNLABELED] = self.columns.with_any_tag_ids(unlabeled)
        return prepared

    def has_labels(self, split: Dataset) -> bool:
        return super().has_labels(split) and any(tag for _, tags in self.columns.sentences(split) for tag in tags)

    def head_settings(self) -> dict[str, Any]:
        return label_settings(self.labels)

    def encode(self, split: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool) -> Dataset:
        """One row for each window: the inputs, ``labels`` and, for evaluation, ``word``.

        ``word`` is the index of a word in the split at its scored token. Windows without any label are left out: their
        words have no tokens (control characters), or they hold only the end of a word.
        """
        max_length = self._window_length(tokenizer)
        words_before = np.cumsum([0, *flat_lists(split, "labels")[1]])  # before each sentence of the split
        later_tags = self._tags_of_later_tokens()

        def features(rows: Columns, indices: list[int]) -> dict[str, Any]:
            encoded, sentence, words = word_windows(rows[WORDS], tokenizer, max_length)
            first, later = first_and_later_tokens(words)
            tags = np.concatenate(rows["labels"])[words]
            labels = np.select([first, later], [tags, later_tags[tags]], IGNORED)
            lengths = [len(ids) for ids in encoded["input_ids"]]
            columns = {**encoded, "labels": _cut(labels, lengths), "length": lengths}
            if LABELLED in rows:
                columns[LABELLED] = [rows[LABELLED][i] for i in sentence]
            if not training:
                columns["word"] = _cut(np.where(first, words + words_before[indices[0]], IGNORED), lengths)
            kept = [i for i, window in enumerate(columns["labels"]) if (window != IGNORED).any()]
            return {name: [values[i] for i in kept] for name, values in columns.items()}

        return cached_map(split, features, batched=True, with_indices=True, remove_columns=split.column_names)

    def loss(self, outputs: ModelOutputs, batch: Batch) -> Tensor:
        logits = outputs.logits.float()  # (batch, tokens, tags)
        return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED)

    def distillation_loss(
        self, student: ModelOutputs, teacher: ModelOutputs, batch: Batch, *, temperature: float
    ) -> Tensor:
        mask = batch["attention_mask"].bool()
        return distillation_loss(student.logits, teacher.logits, temperature=temperature, mask=mask)

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        return {"tags": TagScores(split, self.labels, self.metric_names)}

    def update_metrics(self, metrics: MetricCollection, outputs: ModelOutputs, batch: Batch) -> None:
        scored = batch["word"] != IGNORED
        metrics.update(batch["word"][scored], outputs.logits.argmax(dim=-1)[scored])

    def prediction_files(self, metrics: MetricCollection) -> dict[str, Any]:
        tags = metrics["tags"]
        assert isinstance(tags, TagScores)
        return {"predictions.json": tags.predicted()}

    def encode_inputs(self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> Columns:
        sentences = [split_words(row["text"], self.split_punctuation)[0] for row in rows]
        encoded, sentence, words = word_windows(sentences, tokenizer, self._window_length(tokenizer))
        first, _ = first_and_later_tokens(words)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        words_before = np.cumsum([0, *map(len, sentences)])[sentence]
        word = np.where(first, words - np.repeat(words_before, lengths), IGNORED)  # index in the sentence
        return {**encoded, "word": _cut(word, lengths), "example": list(sentence), "length": lengths}

    def window_predictions(self, outputs: ModelOutputs, batch: Batch) -> dict[str, Tensor]:
        logits = outputs.logits.double()  # (batch, tokens, tags)
        tag = logits.argmax(dim=-1)
        probability = logits.softmax(dim=-1).gather(-1, tag.unsqueeze(-1)).squeeze(-1)
        return {"word": batch["word"], "tag": tag, "probability": probability}

    def row_prediction(self, row: Row, windows: Sequence[WindowPrediction], top_k: int | None) -> dict[str, Any]:
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

    def texts(self, split: Dataset) -> list[str]:
        return [" ".join(words) for words in split[:100][WORDS]]

    def _word_tags(self, count: int, windows: Sequence[WindowPrediction]) -> tuple[list[str], list[float]]:
        """The tag of each word of a sentence and its probability; O and 0 for a word without a token."""
        tags, scores = [OUTSIDE if OUTSIDE in self.labels else self.labels[0]] * count, [0.0] * count
        for window in windows:
            for i in np.flatnonzero(window["word"] != IGNORED):
                tags[window["word"][i]] = self.labels[window["tag"][i]]
                scores[window["word"][i]] = float(window["probability"][i])
        return tags, scores

    def _window_length(self, tokenizer: PreTrainedTokenizerBase) -> int:
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

    def _tags_of_later_tokens(self) -> NDArray[np.int64]:
        """For each tag of a word the label of the tokens after its first token."""
        if not self.label_all_tokens:
            return np.full(len(self.labels), IGNORED)
        ids = {tag: i for i, tag in enumerate(self.labels)}
        return np.array([ids.get("I" + tag[1:], i) if split_tag(tag)[0] == "B" else i for tag, i in ids.items()])


def _entity(kind: str, text: str | Sequence[str], start: int, end: int, score: float) -> dict[str, Any]:
    """An entity as the user reads it."""
    text = text if isinstance(text, str) else " ".join(text)
    return {"type": kind, "text": text, "start": start, "end": end, "score": round(score, SCORE_DIGITS)}


def _cut(values: NDArray[np.int64], lengths: Sequence[int]) -> list[NDArray[np.int64]]:
    """The values of each window."""
    return np.split(values, np.cumsum(lengths)[:-1])
